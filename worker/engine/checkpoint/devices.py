"""The devices that torch sees. `python -m worker.engine.checkpoint.devices` prints them as a JSON object.

`doctor` runs that as a separate process, because a broken driver may hang or crash the process that loads it.
"""

from __future__ import annotations

import json
from importlib import import_module
from typing import Any

from worker.engine.checkpoint import GIB
from worker.engine.checkpoint.files import ModelError, first_line


def probe() -> dict[str, Any]:
    """{"torch", "gpus": [{"name", "free_gib", "total_gib"}], "why"}; why: the reason for no GPU, else ""."""
    torch: Any = import_module("torch")
    gpus = []
    for n in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        free, total = torch.cuda.mem_get_info(n)
        name = torch.cuda.get_device_name(n)
        gpus.append({"name": name, "free_gib": free / GIB, "total_gib": total / GIB})
    why = "" if gpus else why_no_gpu(torch)
    return {"torch": torch.__version__, "gpus": gpus, "why": why}


def why_no_gpu(torch: Any) -> str:
    """The reason in one line why this torch sees no CUDA device."""
    if torch.version.cuda is None:
        return f"torch {torch.__version__} was built without CUDA"
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return first_line(error)
    return "torch sees no device"


def device_problem(device: str) -> ModelError | None:
    """Why torch cannot compute on this device ("auto", "cpu", "cuda", "cuda:N"); None when it can.

    Imports torch into this process.
    """
    if device in ("auto", "cpu"):
        return None
    if not device.startswith("cuda"):
        return ModelError(f"the device {device} is not supported by Qwen3-TTS", "use cuda or cpu")
    try:
        torch: Any = import_module("torch")
    except (ImportError, OSError) as error:
        return ModelError(f"torch cannot be imported ({error})", "install again: pip install 'makima-tts[qwen]'")
    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not n_gpus:
        return ModelError(f"no CUDA device: {why_no_gpu(torch)}", "install the NVIDIA driver, or use --device cpu")
    index = device.partition(":")[2]
    if index and int(index) >= n_gpus:
        return ModelError(f"{device} does not exist", f"use a GPU from cuda:0 to cuda:{n_gpus - 1}, or --device cpu")
    return None


def computes_on_cpu(device: str) -> bool:
    """Whether this device is the CPU, or "auto" and there is no GPU. Imports torch into this process."""
    torch: Any = import_module("torch")
    return device == "cpu" or (device == "auto" and not torch.cuda.is_available())


if __name__ == "__main__":
    print(json.dumps(probe()))
