"""Asks torch for its GPUs, as a process of its own: `python -m worker.engine.torch_probe` prints one JSON object.

`doctor` runs it, so that a broken driver can neither hang nor crash the command that is to tell of it.
"""

from __future__ import annotations

import json
from importlib import import_module
from typing import Any

GIB = 1024**3


def probe() -> dict[str, Any]:
    """{"torch", "gpus": [{"name", "free_gib", "total_gib"}], "why"}; why: the reason for no GPU, else ""."""
    torch: Any = import_module("torch")
    gpus = []
    for n in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        free, total = torch.cuda.mem_get_info(n)
        name = torch.cuda.get_device_name(n)
        gpus.append({"name": name, "free_gib": free / GIB, "total_gib": total / GIB})
    why = "" if gpus else _why_none(torch)
    return {"torch": torch.__version__, "gpus": gpus, "why": why}


def _why_none(torch: Any) -> str:
    if torch.version.cuda is None:
        return f"torch {torch.__version__} was built without CUDA"
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return str(error).strip().splitlines()[0]
    return "torch sees no device"


if __name__ == "__main__":
    print(json.dumps(probe()))
