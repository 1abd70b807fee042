"""The memory that a model and its slots take, computed from its config, and the memory that this machine has free."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worker.engine.checkpoint.files import ModelError, Weights
from worker.engine.processor import multiplies_bfloat16

N_POSITIONS = 2048  # of a slot's KV cache
ELEMENT_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4, "float64": 8}

_RESIDUAL_HISTORY = 6 + 18 + 54  # frames of a kernel of 7 at dilations 1, 3 and 9
_CONV_HISTORY = 6  # of a kernel of 7
_PRE_CONV_HISTORY = 2  # of a kernel of 3


def dtype_for(dtype: str, device: str) -> str:
    """The number format that "auto" means on this device ("cpu", "cuda", "cuda:1").

    On a CPU it is that of talker and predictor; the codec computes in float32 beside a half.
    """
    if dtype != "auto":
        return dtype
    return "bfloat16" if device.startswith("cuda") or multiplies_bfloat16() else "float32"


def weights_bytes(weights: Weights, dtype: str, codec_dtype: str | None = None) -> int:
    """All parameters. codec_dtype: the codec's number format; None for the same."""
    n_codec = weights.n_codec_numbers
    return (weights.n_numbers - n_codec) * ELEMENT_BYTES[dtype] + n_codec * ELEMENT_BYTES[codec_dtype or dtype]


def slot_bytes(weights: Weights, dtype: str, n_positions: int = N_POSITIONS, codec_dtype: str | None = None) -> int:
    """KV cache and codec state of one slot. codec_dtype: as in `weights_bytes`. Raises ModelError."""
    try:
        caches = cache_numbers(weights.config["talker_config"], n_positions)
        codec = codec_numbers(weights.codec_config["decoder_config"])
    except (KeyError, TypeError) as error:
        raise ModelError(f"{weights.folder}: its config.json lacks {error}", "fetch the model again") from None
    return caches * ELEMENT_BYTES[dtype] + codec * ELEMENT_BYTES[codec_dtype or dtype]


def cache_numbers(talker: Mapping[str, Any], n_positions: int = N_POSITIONS) -> int:
    """Keys and values of every layer."""
    heads = int(talker["num_key_value_heads"]) * int(talker["head_dim"])
    return int(talker["num_hidden_layers"]) * 2 * heads * n_positions


def codec_numbers(decoder: Mapping[str, Any]) -> int:
    """The state of one stream of the codec decoder, over all its layers."""
    latent, width = int(decoder["latent_dim"]), int(decoder["decoder_dim"])
    head_dim = decoder.get("head_dim", int(decoder["hidden_size"]) // int(decoder["num_attention_heads"]))
    heads = int(decoder["num_key_value_heads"]) * int(head_dim)
    keys_values = int(decoder["num_hidden_layers"]) * 2 * heads * (int(decoder["sliding_window"]) - 1)
    pre_conv = int(decoder["codebook_dim"]) * _PRE_CONV_HISTORY
    histories = latent * _CONV_HISTORY * (len(decoder["upsampling_ratios"]) + 1)
    blocks = 0
    for n, rate in enumerate(decoder["upsample_rates"], start=1):
        blocks += (width >> n) * (int(rate) + _RESIDUAL_HISTORY)
    last = (width >> len(decoder["upsample_rates"])) * _CONV_HISTORY
    return pre_conv + keys_values + histories + blocks + last


def free_host_bytes(proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")) -> int | None:
    """The memory that this machine or container has left for a new process; None where it is unknown."""
    known = [amount for amount in (_available(proc), _left_in(cgroup)) if amount is not None]
    return min(known, default=None)


def _available(proc: Path) -> int | None:
    try:
        lines = (proc / "meminfo").read_text("ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, IndexError, StopIteration):
        return None


def _left_in(cgroup: Path) -> int | None:
    """The container's limit minus its use. Reclaimable file pages count as free."""
    try:
        limit = int((cgroup / "memory.max").read_text("ascii"))
        used = int((cgroup / "memory.current").read_text("ascii"))
        stat = dict(line.split() for line in (cgroup / "memory.stat").read_text("ascii").splitlines())
        return max(0, limit - used + int(stat.get("inactive_file", 0)))
    except (OSError, ValueError):  # "max": no limit
        return None
