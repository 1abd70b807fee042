"""What a run was made on: the card with its clocks, the driver, the versions and the commit."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.gpu.steps import Options
from worker.bench.report import processor_name
from worker.engine.checkpoint.devices import device_problem

PACKAGES = ("torch", "triton", "transformers", "qwen-tts", "flash-attn", "numpy")
QUERY = ("name", "driver_version", "pstate", "clocks.sm", "clocks.mem", "clocks.max.sm", "power.draw", "power.limit",
         "temperature.gpu", "mig.mode.current")  # fmt: skip
NOT_A_GPU = "not a GPU"
WARM_S = 1.0


def device(options: Options) -> dict[str, Any]:
    """All of it. Raises ModelError where the device does not exist, and leaves the GPU at its working clocks."""
    if options.is_cuda and (problem := device_problem(options.device)) is not None:
        raise problem
    found = {
        "host": processor_name(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "commit": options.commit or commit(),
    }
    if not options.is_cuda:
        return {"card": f"{NOT_A_GPU}: {processor_name()}"} | found
    return found | _cuda(options.device)


def _cuda(name: str) -> dict[str, Any]:
    import torch

    card = torch.cuda.get_device_properties(name)
    idle = smi(name)
    _keep_busy(name)
    busy = smi(name)  # while the products of _keep_busy run
    torch.cuda.synchronize(name)
    return {
        "card": card.name,
        "memory_gib": round(card.total_memory / 2**30, 1),
        "processors": card.multi_processor_count,
        "capability": f"{card.major}.{card.minor}",
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "idle": idle,
        "busy": busy,
    }


def _keep_busy(name: str) -> None:
    """Queue products for about WARM_S seconds."""
    import torch

    matrix = torch.ones(8192, 8192, device=name, dtype=torch.bfloat16)  # large: a full queue would make this wait
    product = partial(torch.mm, matrix, matrix)
    product()
    torch.cuda.synchronize(name)
    began = time.perf_counter()
    for _ in range(20):
        product()
    torch.cuda.synchronize(name)
    for _ in range(int(20 * WARM_S / (time.perf_counter() - began))):
        product()


def smi(name: str) -> dict[str, str]:
    """What nvidia-smi reports of the device; a reason where it reports nothing."""
    index = name.partition(":")[2] or "0"
    command = ["nvidia-smi", f"--id={index}", f"--query-gpu={','.join(QUERY)}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError) as error:
        return {"why": f"nvidia-smi: {error}"}
    values = [value.strip() for value in done.stdout.strip().split(",")]
    return dict(zip(QUERY, values, strict=False))


def commit() -> str:
    """The commit of this tree, with "+" where files differ from it; "unknown" without git."""
    folder = Path(__file__).parent
    try:
        head, changed = (
            subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10, check=True)  # noqa: S603, S607
            for words in (["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
