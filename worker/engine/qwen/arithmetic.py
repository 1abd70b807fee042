"""The arithmetic of the Qwen engine: device, instructions, libraries, number format and weights, as one name."""

from __future__ import annotations

import os

import torch

from worker.engine import exactness
from worker.engine.base import Arithmetic
from worker.engine.checkpoint.packages import installed
from worker.engine.processor import printable, processor
from worker.engine.qwen.loader import Model

# Besides the processor, these choose among the code paths of torch, MKL and oneDNN.
_VARIABLES = (exactness.VARIABLE, "MKL_ENABLE_INSTRUCTIONS", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
_WEIGHTS_DIGITS = 12


def arithmetic_of(model: Model) -> Arithmetic:
    """Exact where a CPU's codec is float32 and its products pass `exactness.check`, whatever talker and predictor are:
    they choose the codes, and the codec alone makes the samples of given codes. No GPU counts as exact: none was
    measured.
    """
    is_cpu = model.device.type == "cpu"
    parts = [
        "qwen",
        str(model.dtype).removeprefix("torch."),
        f"codec-{str(model.codec_dtype).removeprefix('torch.')}",
        *(_cpu() if is_cpu else _gpu(model)),
        f"torch-{torch.__version__}",
        f"weights-{model.fingerprint[:_WEIGHTS_DIGITS]}",
        f"makima-tts-{installed('makima-tts')}",
    ]
    is_exact = is_cpu and model.codec_dtype == torch.float32 and exactness.check() is None
    return Arithmetic(" ".join(map(printable, parts))[:256], is_exact)


def _cpu() -> list[str]:
    chosen = [f"{name}={os.environ[name]}" for name in _VARIABLES if name in os.environ]
    return [processor(), torch.backends.cpu.get_cpu_capability(), *chosen]


def _gpu(model: Model) -> list[str]:
    return [torch.cuda.get_device_name(model.device), f"cuda-{torch.version.cuda}", model.attention]
