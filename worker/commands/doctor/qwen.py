"""Checks what Qwen3-TTS needs: packages, a GPU, kernels, complete weights, and memory for weights and slots.

torch runs in a separate process with a time-out; the weights are checked without it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

from worker.commands.doctor.findings import Finding, fail, ok, unless, warn
from worker.engine.checkpoint import GIB
from worker.engine.checkpoint import memory as footprint
from worker.engine.checkpoint.files import ModelError, Weights, read
from worker.engine.checkpoint.kernels import triton_problem
from worker.engine.checkpoint.packages import INSTALL, NEEDED, fits, installed
from worker.engine.checkpoint.room import COMFORTABLE, Need, choose_slots
from worker.engine.processor import processor
from worker.settings import Settings

PROBE_TIMEOUT_S = 90.0  # importing torch from a cold disk is slow


def check_qwen(settings: Settings) -> Iterator[Finding]:
    """The speech model's packages, its device and its weights."""
    versions = {name: installed(name) for name in NEEDED}
    missing = [name for name, found in versions.items() if found is None]
    yield _not_installed(settings, missing) if missing else _versions(versions)
    gpus: list[dict[str, Any]] = []
    if versions["torch"] is not None:
        seen = probe_torch()
        gpus = seen.get("gpus", [])
        yield _device(settings, seen)
        flash = installed("flash-attn")
        detail = f"flash-attn {flash}" if flash else "not installed: attention runs on torch's own kernels"
        yield ok("flash-attn", detail)
        if _room(settings.device, gpus)[0] == "cuda":
            yield _kernels()
    if settings.model is not None and settings.engine != "preview":
        yield from check_weights(settings, settings.model, gpus)
        if versions["torch"] is not None and _room(settings.device, gpus)[0] == "cpu":
            yield check_products(ask_torch("worker.engine.exactness"))


def check_products(seen: dict[str, Any]) -> Finding:
    """Whether two attempts give equal samples on this CPU. seen: the answer of `worker.engine.exactness.report`."""
    if "error" in seen:
        return warn("cpu products", f"not known: {seen['error']}", "try: python -m worker.engine.exactness")
    detail = f"the same bits on any number of threads and in any company ({processor()}, {seen['instructions']})"
    return warn("cpu products", seen["problem"], seen["remedy"]) if seen["problem"] else ok("cpu products", detail)


def check_weights(settings: Settings, model: str, gpus: list[dict[str, Any]]) -> Iterator[Finding]:
    """Whether the model is complete, and whether it and the slots fit into the device's memory."""
    try:
        weights = read(model)
        yield ok("weights", f"{weights.folder}, {weights.n_bytes / GIB:.2f} GiB")
        yield from _memory(settings, weights, gpus)
    except ModelError as error:
        yield _matters(settings)("weights", error.problem, error.remedy)


def _memory(settings: Settings, weights: Weights, gpus: list[dict[str, Any]]) -> Iterator[Finding]:
    kind, where, free_bytes = _room(settings.device, gpus)
    if free_bytes is None:
        return  # the finding about the GPU says why
    dtype = footprint.dtype_for(settings.dtype, kind)
    need = Need.of(weights, dtype, kind)
    try:
        n_slots = choose_slots(settings.slots, need, free_bytes, where)
    except ModelError as error:
        yield _matters(settings)("memory", error.problem, error.remedy)
        return
    chosen = " (auto)" if settings.slots == "auto" else ""
    detail = f"about {need.described(n_slots)}{chosen} in {dtype}, {free_bytes / GIB:.1f} GiB free on {where}"
    is_tight = need.total(n_slots) > COMFORTABLE * free_bytes
    advice = "end what else uses it, or take fewer slots with MAKIMA_TTS_SLOTS"
    yield warn("memory", detail, advice) if is_tight else ok("memory", detail)


def _room(device: str, gpus: list[dict[str, Any]]) -> tuple[str, str, float | None]:
    """ "cuda" or "cpu", what it is called, and the bytes free there."""
    if device == "cpu" or (device == "auto" and not gpus):
        return "cpu", "this machine", footprint.free_host_bytes()
    index = _index(device)
    if index >= len(gpus):
        return "cuda", device, None
    return "cuda", str(gpus[index]["name"]), gpus[index]["free_gib"] * GIB


def _index(device: str) -> int:
    return int(device.partition(":")[2] or 0)


def _matters(settings: Settings) -> Callable[[str, str, str], Finding]:
    """A failure where Qwen was chosen, a warning where preview would speak instead."""
    return fail if settings.engine == "qwen" else warn


def _not_installed(settings: Settings, missing: list[str]) -> Finding:
    detail = f"not installed: {', '.join(missing)}"
    if settings.engine == "preview":
        return ok("qwen packages", f"{detail}; the preview engine does not need them")
    if settings.engine == "qwen":
        return fail("qwen packages", detail, f"{INSTALL}, or choose --engine preview")
    return warn("qwen packages", detail, f"{INSTALL}, or choose --engine preview to say that this is meant")


def _kernels() -> Finding:
    if (problem := triton_problem()) is None:
        return ok("kernels", f"triton {installed('triton')}")
    what, _, remedy = problem.partition(": ")
    return warn("kernels", f"{what}; the engine runs without its kernels, several times slower", remedy)


def _versions(versions: dict[str, str | None]) -> Finding:
    detail = ", ".join(f"{name} {found}" for name, found in versions.items())
    fine = all(fits(str(found), NEEDED[name]) for name, found in versions.items())
    together = ", ".join(f"{name}{needed}" for name, needed in NEEDED.items())
    return unless(fine, fail("qwen packages", detail, f"these go together: {together}; {INSTALL}"))


def _device(settings: Settings, seen: dict[str, Any]) -> Finding:
    """The GPUs with their memory, or the reason why there is none. seen: the answer of `probe_torch`."""
    if "error" in seen:
        advice = f"see whether `python -c 'import torch'` works; install again: {INSTALL}"
        finding = warn if settings.engine == "preview" else fail
        return finding("gpu", f"torch cannot be asked: {seen['error']}", advice)
    gpus = [f"{gpu['name']} ({gpu['free_gib']:.1f} of {gpu['total_gib']:.1f} GiB free)" for gpu in seen["gpus"]]
    if gpus and settings.device.startswith("cuda") and _index(settings.device) >= len(gpus):
        detail = f"{settings.device} is not there, only {', '.join(gpus)}"
        return _matters(settings)("gpu", detail, f"choose --device cuda:{len(gpus) - 1} or a lower number")
    if gpus:
        return ok("gpu", ", ".join(gpus))
    detail = f"no CUDA device: {seen['why']}"
    if settings.engine == "preview" or settings.device == "cpu":
        return ok("gpu", f"{detail}; none is asked for")
    advice = "install the NVIDIA driver, give the container its GPUs, or choose --device cpu"
    return warn("gpu", detail, advice) if settings.device == "auto" else _matters(settings)("gpu", detail, advice)


def probe_torch(timeout_s: float = PROBE_TIMEOUT_S) -> dict[str, Any]:
    """The answer of `worker.engine.checkpoint.devices`: {"gpus": [...], "why": ...}, or {"error": ...}."""
    return ask_torch("worker.engine.checkpoint.devices", timeout_s)


def ask_torch(module: str, timeout_s: float = PROBE_TIMEOUT_S) -> dict[str, Any]:
    """Run a module in a separate process; returns the JSON object that it prints, or {"error": ...}."""
    command = [sys.executable, "-m", module]
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
