"""Triton's operations of a decoder layer, as `worker.engine.qwen.fused` uses them."""

from __future__ import annotations

import torch
from torch import Tensor

from worker.engine.qwen.kernels import attention, layers


class TritonOps:
    """The operations for one stack, whose launches follow each other on one stream. n_heads: tokens times kv heads."""

    rms = staticmethod(layers.rms)
    add_rms = staticmethod(layers.add_rms)
    qk = staticmethod(layers.qk)
    silu_mul = staticmethod(layers.silu_mul)
    attend_packed = staticmethod(attention.attend_packed)

    def __init__(self, n_heads: int, device: torch.device) -> None:
        self._n_done = torch.zeros(n_heads, dtype=torch.int32, device=device)

    def attend(self, qkv: Tensor, keys: Tensor, values: Tensor, rows: Tensor, positions: Tensor) -> Tensor:
        out: Tensor = attention.attend(qkv, keys, values, rows, positions, self._n_done)
        return out
