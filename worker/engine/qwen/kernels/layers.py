"""Kernels of a transformer layer beside its products and its attention."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from worker.engine.qwen.kernels.launch import block, check_contiguous, on, operation, wide


@triton.jit
def rms_kernel(x, y, weight, total, out, width, eps, ADDS: tl.constexpr, WIDE: tl.constexpr, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    kept = at < width
    here = tl.program_id(0).to(tl.int64) * width + at
    added = tl.load(x + here, mask=kept, other=0.0)
    if ADDS:
        added = (added.to(WIDE) + tl.load(y + here, mask=kept, other=0.0).to(WIDE)).to(added.dtype)
        tl.store(total + here, added, mask=kept)
    full = added.to(tl.float32)
    normed = full * (1.0 / tl.sqrt(tl.sum(full * full, 0) / width + eps))
    scale = tl.load(weight + at, mask=kept, other=0.0).to(WIDE)
    tl.store(out + here, (normed.to(WIDE) * scale).to(out.dtype.element_ty), mask=kept)


@operation(fake=lambda x, weight, eps: x.new_empty(x.shape))
def rms(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """RMSNorm of x [N, D] by weight [D], in float32 whatever the dtype."""
    out = x.new_empty(x.shape)
    _launch_rms(x, x, weight, x, out, eps, is_sum=False)
    return out


@operation(fake=lambda x, y, weight, eps: (x.new_empty(x.shape), x.new_empty(x.shape)))
def add_rms(x: Tensor, y: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """x + y, rounded, and its RMSNorm by weight [D]. x, y: [N, D]."""
    total, out = x.new_empty(x.shape), x.new_empty(x.shape)
    _launch_rms(x, y, weight, total, out, eps, is_sum=True)
    return total, out


def _launch_rms(x: Tensor, y: Tensor, weight: Tensor, total: Tensor, out: Tensor, eps: float, is_sum: bool) -> None:
    n, width = x.shape
    check_contiguous(x, y, weight)
    with on(x):
        rms_kernel[n,](x, y, weight, total, out, width, eps, is_sum, wide(x), block(width))


@triton.jit
def qk_kernel(qkv, weight, cis, positions, rows, keys, values, n_positions, eps,
              HQ: tl.constexpr, HK: tl.constexpr, D: tl.constexpr, WIDE: tl.constexpr):  # fmt: skip
    n = tl.program_id(0).to(tl.int64)
    h = tl.program_id(1)
    position = tl.load(positions + n)
    i = tl.arange(0, D // 2)
    head = qkv + (n * (HQ + 2 * HK) + h) * D + 2 * i
    dtype: tl.constexpr = qkv.dtype.element_ty
    a = tl.load(head)
    b = tl.load(head + 1)
    if h < HQ + HK:
        x, y = a.to(tl.float32), b.to(tl.float32)
        scale = 1.0 / tl.sqrt((tl.sum(x * x, 0) + tl.sum(y * y, 0)) / D + eps)
        x = (x * scale).to(dtype).to(WIDE) * tl.load(weight + h * D + 2 * i).to(WIDE)
        y = (y * scale).to(dtype).to(WIDE) * tl.load(weight + h * D + 2 * i + 1).to(WIDE)
        cos = tl.load(cis + position * D + 2 * i)
        sin = tl.load(cis + position * D + 2 * i + 1)
        a, b = (x * cos - y * sin).to(dtype), (x * sin + y * cos).to(dtype)
        tl.store(head, a)
        tl.store(head + 1, b)
    if h >= HQ:
        cached = (tl.load(rows + n) * HK + (h - HQ) % HK) * n_positions + position
        if h < HQ + HK:
            tl.store(keys + cached * D + 2 * i, a)
            tl.store(keys + cached * D + 2 * i + 1, b)
        else:
            tl.store(values + cached * D + 2 * i, a)
            tl.store(values + cached * D + 2 * i + 1, b)


@operation(fake=lambda *_: None, mutates=("qkv", "keys", "values"))
def qk(
    qkv: Tensor, weight: Tensor, cis: Tensor, positions: Tensor, rows: Tensor, keys: Tensor, values: Tensor, eps: float
) -> None:
    """Norm and rotate the heads of queries and keys in place, and write keys and values to the caches.

    qkv: [N, (HQ + 2 HK) * D], all queries, then keys, then values, rotary pairs side by side. weight: [HQ + HK, D].
    cis: cosines and sines by position, [P, D / 2, 2]. positions, rows: int64 [N], where token n is in the caches.
    keys, values: [rows, HK, P, D]. The norm is float32 and is rounded before the weight.
    """
    n_kv_heads, n_positions, width = keys.shape[1:]
    n_heads = len(weight) - n_kv_heads
    check_contiguous(qkv, weight, cis, positions, rows, keys, values)
    grid = (len(qkv), n_heads + 2 * n_kv_heads)
    with on(qkv):
        qk_kernel[grid](
            qkv, weight, cis, positions, rows, keys, values, n_positions, eps,
            n_heads, n_kv_heads, width, wide(qkv), num_warps=1,
        )  # fmt: skip


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
    check_contiguous(gate_up)
    out = gate_up.new_empty(n, width)
    size = block(width, 1024)
    with on(gate_up):
        silu_mul_kernel[n, triton.cdiv(width, size)](gate_up, out, width, wide(gate_up), size)
    return out
