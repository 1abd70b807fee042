"""Kernels of a transformer layer beside its products and its attention."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from worker.engine.qwen.kernels.launch import block, on, operation, wide


@triton.jit
def silu_mul_kernel(gate_up, out, width, WIDE: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    kept = at < width
    gate = tl.load(gate_up + row * 2 * width + at, mask=kept, other=0.0).to(WIDE)
    up = tl.load(gate_up + row * 2 * width + width + at, mask=kept, other=0.0).to(WIDE)
    small = tl.exp(-tl.abs(gate))  # exp of a positive number may overflow
    silu = gate * tl.where(gate < 0, small, 1.0) / (1 + small)
    tl.store(out + row * width + at, (silu * up).to(out.dtype.element_ty), mask=kept)


@operation(fake=lambda gate_up: gate_up.new_empty(gate_up.shape[0], gate_up.shape[1] // 2))
def silu_mul(gate_up: Tensor) -> Tensor:
    """silu(gate) * up [N, W] of gate_up [N, 2 W], contiguous: all gates, then all ups."""
    n, width = gate_up.shape[0], gate_up.shape[1] // 2
    out = gate_up.new_empty(n, width)
    size = block(width, 1024)
    with on(gate_up):
        silu_mul_kernel[n, triton.cdiv(width, size)](gate_up, out, width, wide(gate_up), size)
    return out
