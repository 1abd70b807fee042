"""Kernels of the codec decoder's part that runs once a frame: codebooks, transformer and ConvNeXt blocks.

A slot's keys and values lie in a ring: position p is entry p mod the ring's size. The ring holds a chunk more than the
window, so that a chunk is written before its first frame attends. Rotation and norm are float32 in every engine, as
upstream's are.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from worker.engine.qwen.kernels.codec_stream import read, tile, write
from worker.engine.qwen.kernels.launch import block, on, operation, wide


@triton.jit
def codec_advance_kernel(frames, slots, starts, n):
    row = tl.program_id(0)
    at = frames + tl.load(slots + row)
    start = tl.load(at)
    tl.store(starts + row, start)
    tl.store(at, start + n)


@operation(fake=lambda frames, slots, n: slots.new_empty(slots.shape), mutates=("frames",))
def codec_advance(frames: Tensor, slots: Tensor, n: int) -> Tensor:
    """The slots' frame counts, int64 [B]; in `frames`, int64 [slots], they become n more."""
    starts = slots.new_empty(slots.shape)
    with on(frames):
        codec_advance_kernel[(len(slots),)](frames, slots, starts, n)
    return starts


@triton.jit
def codec_codebooks_kernel(
    codes, table, out, n_entries, width,
    N_BOOKS: tl.constexpr, N_SEMANTIC: tl.constexpr, WIDE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    frame = tl.program_id(0).to(tl.int64)
    d = tl.arange(0, BLOCK)
    semantic = tl.zeros((BLOCK,), WIDE)
    acoustic = tl.zeros((BLOCK,), WIDE)
    for book in tl.static_range(N_BOOKS):
        code = tl.minimum(tl.maximum(tl.load(codes + frame * N_BOOKS + book), 0), n_entries - 1)
        vector = read(table + (book * n_entries + code) * width + d, d < width, WIDE)
        if book < N_SEMANTIC:
            semantic += vector
        else:
            acoustic += vector
    write(out + frame * 2 * width + d, semantic, d < width)
    write(out + (frame * 2 + 1) * width + d, acoustic, d < width)


@operation(fake=lambda codes, table, n_semantic: table.new_empty(*codes.shape[:2], 2 * table.shape[1]))
def codec_codebooks(codes: Tensor, table: Tensor, n_semantic: int) -> Tensor:
    """The sums of the first n_semantic codebooks' vectors and of the others': [B, n, 2 * D].

    codes int64 [B, n, books], clamped to the books' entries. table [books * entries, D].
    """
    n_rows, n, n_books = codes.shape
    width = table.shape[1]
    out = table.new_empty(n_rows, n, 2 * width)
    with on(table):
        codec_codebooks_kernel[(n_rows * n,)](
            codes, table, out, len(table) // n_books, width, n_books, n_semantic, wide(table), block(width)
        )
    return out


@triton.jit
def codec_add_rms_kernel(
    x, y, scale, weight, out, width, eps, IS_SUM: tl.constexpr, WIDE: tl.constexpr, BLOCK: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    d = tl.arange(0, BLOCK)
    kept = d < width
    total = read(x + row * width + d, kept, WIDE)
    if IS_SUM:
        total += read(scale + d, kept, WIDE) * read(y + row * width + d, kept, WIDE)
        write(x + row * width + d, total, kept)
    norm = total.to(tl.float32)
    norm *= 1.0 / tl.sqrt(tl.sum(norm * norm, 0) / width + eps)
    write(out + row * width + d, norm.to(WIDE) * read(weight + d, kept, WIDE), kept)


@operation(fake=lambda x, weight, eps, y=None, scale=None: x.new_empty(x.shape), mutates=("x",))
def codec_add_rms(
    x: Tensor, weight: Tensor, eps: float, y: Tensor | None = None, scale: Tensor | None = None
) -> Tensor:
    """x += scale * y, if there is a y, and the RMSNorm of x. x and y [..., D], contiguous; scale and weight [D]."""
    out, width = x.new_empty(x.shape), x.shape[-1]
    with on(x):
        codec_add_rms_kernel[(x.numel() // width,)](
            x, y, scale, weight, out, width, eps, y is not None, wide(x), block(width)
        )
    return out


@triton.jit
def codec_rotate_kernel(
    qkv, ring, slots, starts, frequencies, out, n, n_queries, n_keys, size, ring_stride, ring_offset,
    HALF: tl.constexpr, WIDE: tl.constexpr, HEADS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    frame = tl.program_id(0).to(tl.int64)
    row = frame // n
    position = tl.load(starts + row) + frame % n
    h = tl.arange(0, HEADS)[:, None]
    i = tl.arange(0, BLOCK)[None, :]
    kept = (h < n_queries + 2 * n_keys) & (i < HALF)
    head = qkv + (frame * (n_queries + 2 * n_keys) + h) * (2 * HALF) + i
    left, right = read(head, kept, WIDE), read(head + HALF, kept, WIDE)
    angles = position.to(tl.float32) * tl.load(frequencies + i, mask=i < HALF, other=0.0)
    cos, sin = tl.cos(angles).to(WIDE), tl.sin(angles).to(WIDE)
    is_rotated = h < n_queries + n_keys
    a = tl.where(is_rotated, left * cos - right * sin, left)
    b = tl.where(is_rotated, right * cos + left * sin, right)
    query = out + (frame * n_queries + h) * (2 * HALF) + i
    write(query, a, kept & (h < n_queries))
    write(query + HALF, b, kept & (h < n_queries))
    entry = ring + tl.load(slots + row) * ring_stride + ring_offset
    entry += ((h - n_queries) * size + position % size) * (2 * HALF) + i
    write(entry, a, kept & (h >= n_queries))
    write(entry + HALF, b, kept & (h >= n_queries))


def _queries(qkv: Tensor, ring: Tensor) -> Tensor:
    n_rows, n, width = qkv.shape
    return qkv.new_empty(n_rows, n, width - ring.shape[2] * ring.shape[4])


@operation(
    fake=lambda qkv, ring, layer, slots, starts, frequencies: _queries(qkv, ring), mutates=("ring",)
)  # fmt: skip
def codec_rotate(
    qkv: Tensor, ring: Tensor, layer: int, slots: Tensor, starts: Tensor, frequencies: Tensor
) -> Tensor:  # fmt: skip
    """The rotated queries [B, n, heads * head]; rotated keys, and values, are written into the ring.

    qkv [B, n, (heads + 2 * key heads) * head], contiguous. ring [slots, layers, 2 * key heads, size, head].
    starts int64 [B]: the position of each row's first frame. frequencies: float32 [head / 2].
    """
    n_rows, n, width = qkv.shape
    _, _, n_kv, size, head = ring.shape
    out = _queries(qkv, ring)
    with on(qkv):
        codec_rotate_kernel[(n_rows * n,)](
            qkv, ring, slots, starts, frequencies, out, n, width // head - n_kv, n_kv // 2, size,
            ring.stride(0), layer * ring.stride(1), head // 2, wide(qkv), block(width // head), block(head // 2),
        )  # fmt: skip
    return out


@triton.jit
def codec_attend_kernel(
    queries, ring, slots, starts, out, n, n_queries, n_keys, size, window, scale, ring_stride, ring_offset,
    HEAD: tl.constexpr, WIDE: tl.constexpr, WINDOW: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    frame = tl.program_id(0).to(tl.int64)
    h = tl.program_id(1)
    row = frame // n
    position = tl.load(starts + row) + frame % n
    i = tl.arange(0, BLOCK)[None, :]
    back = tl.arange(0, WINDOW)[:, None]
    seen = (back < window) & (back <= position)
    at = tl.where(seen, position - back, 0) % size
    keys = ring + tl.load(slots + row) * ring_stride + ring_offset + h // (n_queries // n_keys) * size * HEAD
    query = read(queries + (frame * n_queries + h) * HEAD + i, i < HEAD, WIDE)
    key = read(keys + at * HEAD + i, seen & (i < HEAD), WIDE)
    scores = tl.where(seen, tl.sum(query * key, 1)[:, None] * scale, -float("inf"))
    shares = tl.exp(scores - tl.max(scores, 0))
    value = read(keys + (n_keys * size + at) * HEAD + i, seen & (i < HEAD), WIDE)
    mean = tl.sum(shares * value, 0) / tl.sum(shares, 0)
    d = tl.arange(0, BLOCK)
    write(out + (frame * n_queries + h) * HEAD + d, mean, d < HEAD)


@operation(fake=lambda queries, ring, layer, slots, starts, window: queries.new_empty(queries.shape))
def codec_attend(queries: Tensor, ring: Tensor, layer: int, slots: Tensor, starts: Tensor, window: int) -> Tensor:
    """Attention of each frame to itself and the window - 1 frames before it: [B, n, heads * head]."""
    n_rows, n, width = queries.shape
    _, _, n_kv, size, head = ring.shape
    out = queries.new_empty(queries.shape)
    with on(queries):
        codec_attend_kernel[n_rows * n, width // head](
            queries, ring, slots, starts, out, n, width // head, n_kv // 2, size, window, head**-0.5,
            ring.stride(0), layer * ring.stride(1), head, wide(queries), block(window), block(head),
        )  # fmt: skip
    return out


@triton.jit
def codec_depthwise_norm_kernel(
    x, weight, bias, norm_weight, norm_bias, out, n, width, eps,
    N_TAPS: tl.constexpr, WIDE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    step = tl.program_id(0).to(tl.int64)
    c = tl.arange(0, BLOCK)
    kept = c < width
    first = step // n * (n + N_TAPS - 1) + step % n
    total = read(bias + c, kept, WIDE)
    for tap in tl.static_range(N_TAPS):
        total += read(x + (first + tap) * width + c, kept, WIDE) * read(weight + tap * width + c, kept, WIDE)
    centred = tl.where(kept, total - tl.sum(total, 0) / width, 0.0)
    norm = centred / tl.sqrt(tl.sum(centred * centred, 0) / width + eps)
    norm = norm * read(norm_weight + c, kept, WIDE) + read(norm_bias + c, kept, WIDE)
    write(out + step * width + c, norm, kept)


def _shortened(x: Tensor, weight: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[1] - weight.shape[0] + 1, x.shape[2])


@operation(fake=lambda x, weight, bias, norm_weight, norm_bias, eps: _shortened(x, weight))
def codec_depthwise_norm(
    x: Tensor, weight: Tensor, bias: Tensor, norm_weight: Tensor, norm_bias: Tensor, eps: float
) -> Tensor:
    """LayerNorm of a depthwise convolution: [B, T, C] of x [B, taps - 1 + T, C], contiguous. weight [taps, C]."""
    out = _shortened(x, weight)
    n_rows, n, width = out.shape
    with on(x):
        codec_depthwise_norm_kernel[(n_rows * n,)](
            x, weight, bias, norm_weight, norm_bias, out, n, width, eps, weight.shape[0], wide(x), block(width)
        )
    return out


@triton.jit
def codec_scaled_add_kernel(
    x, y, scale, n, n_channels, WIDE: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr
):  # fmt: skip
    t = (tl.program_id(0) * ROWS + tl.arange(0, ROWS))[:, None]
    c = (tl.program_id(1) * COLS + tl.arange(0, COLS))[None, :]
    kept = (t < n) & (c < n_channels)
    at = t.to(tl.int64) * n_channels + c
    total = read(x + at, kept, WIDE) + read(scale + c, c < n_channels, WIDE) * read(y + at, kept, WIDE)
    write(x + at, total, kept)


@operation(fake=lambda x, y, scale: None, mutates=("x",))
def codec_scaled_add_(x: Tensor, y: Tensor, scale: Tensor) -> None:
    """x += scale * y; x and y [..., C], contiguous; scale [C]."""
    n_channels = x.shape[-1]
    n = x.numel() // n_channels
    rows, columns = tile(n, n_channels)
    with on(x):
        codec_scaled_add_kernel[triton.cdiv(n, rows), triton.cdiv(n_channels, columns)](
            x, y, scale, n, n_channels, wide(x), rows, columns
        )
