"""Kernels of the codec decoder's convolutions: each has its part of a slot's state, which is read and written in place.

State is [slots, width] with every layer's memory at an offset. Rows that share a slot write it in no order. What
overflows a float16 becomes its greatest number, both when read and when written. Activations are [B, T, C]; `bias`,
`alpha` and `gain` are vectors of C numbers in the dtype that is computed in.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from worker.engine.qwen.kernels.launch import block, on, operation, wide

TILE = 2048  # numbers that a program holds
MOST_COLUMNS = 64


@triton.jit
def read(pointers, kept, WIDE: tl.constexpr):
    numbers = tl.load(pointers, mask=kept, other=0.0)
    if numbers.dtype == tl.float16:
        return tl.minimum(tl.maximum(numbers.to(WIDE), -65504.0), 65504.0)
    return numbers.to(WIDE)


@triton.jit
def write(pointers, numbers, kept):
    if pointers.dtype.element_ty == tl.float16:
        numbers = tl.minimum(tl.maximum(numbers, -65504.0), 65504.0)
    tl.store(pointers, numbers.to(pointers.dtype.element_ty), mask=kept)


@triton.jit
def activated(numbers, bias, alpha, gain, IS_HALF: tl.constexpr):
    """Snake of what the layer before left without its bias."""
    numbers += bias
    if IS_HALF:
        # sin² to 8e-7, without the slow path of sin: a polynomial in the square of the distance from a multiple of pi.
        turns = numbers * (alpha * 0.3183098861837907)
        turns -= tl.floor(turns + 0.5)
        z = turns * turns
        power = -29.426266124925863 + z * 10.581287397780253
        power = z * (9.86952480868136 + z * (-32.46513938537345 + z * (42.64342435223879 + z * power)))
    else:
        wave = tl.sin(numbers * alpha)
        power = wave * wave
    return numbers + gain * power


@triton.jit
def codec_snake_kernel(x, bias, alpha, gain, n, n_channels, WIDE: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr):
    t = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    c = tl.program_id(1) * COLS + tl.arange(0, COLS)
    kept = (t < n)[:, None] & (c < n_channels)[None, :]
    at = x + t.to(tl.int64)[:, None] * n_channels + c[None, :]
    b = read(bias + c, c < n_channels, WIDE)[None, :]
    a = read(alpha + c, c < n_channels, WIDE)[None, :]
    g = read(gain + c, c < n_channels, WIDE)[None, :]
    write(at, activated(read(at, kept, WIDE), b, a, g, x.dtype.element_ty.primitive_bitwidth == 16), kept)


@operation(fake=lambda x, bias, alpha, gain: None, mutates=("x",))
def codec_snake_(x: Tensor, bias: Tensor, alpha: Tensor, gain: Tensor) -> None:
    """x := y + gain * sin²(alpha * y), y = x + bias; x [..., C], contiguous."""
    n_channels = x.shape[-1]
    n = x.numel() // n_channels
    rows, columns = tile(n, n_channels)
    grid = (triton.cdiv(n, rows), triton.cdiv(n_channels, columns))
    with on(x):
        codec_snake_kernel[grid](x, bias, alpha, gain, n, n_channels, wide(x), rows, columns)


@triton.jit
def codec_extend_kernel(
    x, state, slots, bias, alpha, gain, out, n, n_channels, past, offset, width,
    IS_SNAKE: tl.constexpr, WIDE: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr, PAST: tl.constexpr,
):  # fmt: skip
    IS_HALF: tl.constexpr = x.dtype.element_ty.primitive_bitwidth == 16
    row = tl.program_id(0).to(tl.int64)
    c = tl.program_id(2) * COLS + tl.arange(0, COLS)
    x += row * n * n_channels + c[None, :]
    out += row * (past + n) * n_channels + c[None, :]
    columns = (c < n_channels)[None, :]
    b = read(bias + c, c < n_channels, WIDE)[None, :]
    if IS_SNAKE:
        a = read(alpha + c, c < n_channels, WIDE)[None, :]
        g = read(gain + c, c < n_channels, WIDE)[None, :]
    t = (tl.program_id(1) * ROWS + tl.arange(0, ROWS))[:, None]
    y = read(x + t * n_channels, (t < n) & columns, WIDE)
    y = activated(y, b, a, g, IS_HALF) if IS_SNAKE else y + b
    write(out + (past + t) * n_channels, y, (t < n) & columns)
    if tl.program_id(1) == 0:
        memory = state + tl.load(slots + row) * width + offset + c[None, :]
        p = tl.arange(0, PAST)[:, None]
        inside = (p < past) & columns
        old = read(memory + p * n_channels, inside, WIDE)
        # The memory's end after this call: its own end while n is short, and the end of what was computed above.
        moved = read(memory + (p + n) * n_channels, inside & (p + n < past), WIDE)
        fresh = read(x + (p + n - past) * n_channels, inside & (p + n >= past), WIDE)
        fresh = activated(fresh, b, a, g, IS_HALF) if IS_SNAKE else fresh + b
        tl.debug_barrier()  # every thread has read the memory before one writes it
        write(out + p * n_channels, old, inside)
        write(memory + p * n_channels, tl.where(p + n < past, moved, fresh), inside)


def _extended(x: Tensor, past: int) -> Tensor:
    return x.new_empty(x.shape[0], past + x.shape[1], x.shape[2])


@operation(
    fake=lambda x, state, slots, offset, past, bias, alpha=None, gain=None: _extended(x, past), mutates=("state",)
)
def codec_extend(
    x: Tensor, state: Tensor, slots: Tensor, offset: int, past: int, bias: Tensor,
    alpha: Tensor | None = None, gain: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The slots' memory [past, C] followed by x + bias, or by its snake: [B, past + T, C]. The memory becomes its end.

    x [B, T, C], contiguous. state [slots, width]; offset: of this layer's memory. slots int64 [B].
    """
    n_rows, n, n_channels = x.shape
    out = _extended(x, past)
    rows, columns = tile(n, n_channels)
    grid = (n_rows, triton.cdiv(n, rows), triton.cdiv(n_channels, columns))
    with on(x):
        codec_extend_kernel[grid](
            x, state, slots, bias, alpha, gain, out, n, n_channels, past, offset, state.shape[1],
            alpha is not None, wide(x), rows, columns, block(past), num_warps=8,
        )  # fmt: skip
    return out


@triton.jit
def codec_overlap_kernel(
    y, state, slots, out, n, n_numbers, offset, width, WIDE: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    e = tl.program_id(2) * COLS + tl.arange(0, COLS)[None, :]
    t = (tl.program_id(1) * ROWS + tl.arange(0, ROWS))[:, None]
    kept = (t < n) & (e < n_numbers)
    y += row * n * 2 * n_numbers + e
    memory = state + tl.load(slots + row) * width + offset + e
    own = read(y + t * 2 * n_numbers, kept, WIDE)
    before = read(y + (t * 2 - 1) * n_numbers, kept & (t > 0), WIDE)
    before += read(memory + t * 0, kept & (t == 0), WIDE)
    write(out + (row * n + t) * n_numbers + e, own + before, kept)
    if tl.program_id(1) == 0:
        last = read(y + (n * 2 - 1) * n_numbers, e < n_numbers, WIDE)
        tl.debug_barrier()
        write(memory, last, e < n_numbers)


def _overlapped(y: Tensor, stride: int) -> Tensor:
    return y.new_empty(y.shape[0], y.shape[1] * stride, y.shape[2] // (2 * stride))


@operation(fake=lambda y, state, slots, offset, stride: _overlapped(y, stride), mutates=("state",))
def codec_overlap_add(y: Tensor, state: Tensor, slots: Tensor, offset: int, stride: int) -> Tensor:
    """The sum of each step's own samples and of those that the step before left over: [B, T * stride, C].

    y [B, T, 2 * stride * C], contiguous: a step's own samples [stride, C], then its overlap. The first step's is in the
    slot's memory [stride, C], which becomes the last step's.
    """
    n_rows, n, n_numbers = y.shape[0], y.shape[1], y.shape[2] // 2
    out = _overlapped(y, stride)
    rows, columns = tile(n, n_numbers)
    grid = (n_rows, triton.cdiv(n, rows), triton.cdiv(n_numbers, columns))
    with on(y):
        codec_overlap_kernel[grid](
            y, state, slots, out, n, n_numbers, offset, state.shape[1], wide(y), rows, columns
        )  # fmt: skip
    return out


@triton.jit
def codec_samples_kernel(
    x, weight, bias, out, n, n_channels,
    N_TAPS: tl.constexpr, OUT: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    c = tl.arange(0, COLS)
    x += row * (n + N_TAPS - 1) * n_channels
    kept = (t < n)[:, None] & (c < n_channels)[None, :]
    total = tl.zeros((ROWS, COLS), weight.dtype.element_ty)
    for tap in tl.static_range(N_TAPS):
        w = tl.load(weight + tap * n_channels + c, mask=c < n_channels, other=0.0)
        total += read(x + (t + tap)[:, None] * n_channels + c[None, :], kept, weight.dtype.element_ty) * w[None, :]
    samples = tl.sum(total, 1) + tl.load(bias)
    samples = tl.minimum(tl.maximum(samples, -1.0), 1.0)
    tl.store(out + row * n + t, samples.to(OUT), mask=t < n)


def _samples(x: Tensor, weight: Tensor) -> Tensor:
    from torch import float32

    return x.new_empty(x.shape[0], x.shape[1] - weight.shape[0] + 1, dtype=float32)


@operation(fake=lambda x, weight, bias: _samples(x, weight))
def codec_samples(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolution to one channel, limited to -1..1: float32 [B, T].

    x [B, taps - 1 + T, C], contiguous. weight [taps, C] and bias [1], in the dtype that is computed in.
    """
    out = _samples(x, weight)
    n_rows, n = out.shape
    n_taps, n_channels = weight.shape
    columns = block(n_channels)
    rows = block(max(TILE // columns, 1), block(n))
    with on(x):
        codec_samples_kernel[n_rows, triton.cdiv(n, rows)](
            x, weight, bias, out, n, n_channels, n_taps, tl.float32, rows, columns
        )
    return out


def tile(n: int, n_channels: int) -> tuple[int, int]:
    """Rows and columns of a program. Columns divide the channels where that is possible, so that no thread idles."""
    columns = min(max(n_channels & -n_channels, 16), MOST_COLUMNS, block(n_channels))
    return min(TILE // columns, block(n)), columns
