"""Attention with grouped queries: of one token over its row of a KV cache, and of packed prompts over themselves.

Scores, softmax and sums are float32 (float64 for float64); the weights of the values are rounded to the values' dtype.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from worker.engine.qwen.kernels.launch import block, check_contiguous, on, operation, wide

TILE_BYTES = 128  # a tile's keys have so many bytes for each of a head's numbers: 64 keys of bfloat16
MAX_SPLITS = 32
PROGRAMS = 512  # some four on each multiprocessor: few rows are split to as many programs


@triton.jit
def softened(scores, values, most, total, out, WIDE: tl.constexpr):
    """Online softmax over one more tile: (greatest score, sum of weights, weighted sum of values) of all tiles so far.

    A row may have no key yet: all its scores are -inf.
    """
    new = tl.maximum(most, tl.max(scores, 1))
    finite = tl.where(new == -float("inf"), 0.0, new)
    weights = tl.exp(scores - finite[:, None])
    kept = tl.exp(most - finite)
    total = total * kept + tl.sum(weights, 1)
    product = tl.dot(weights.to(values.dtype), values, input_precision="ieee", out_dtype=WIDE)
    return new, total, out * kept[:, None] + product


@triton.jit
def attend_kernel(qkv, keys, values, rows, positions, out, partial, logsums, n_done, n_positions,
                  HK: tl.constexpr, G: tl.constexpr, D: tl.constexpr, GROUP: tl.constexpr, TILE: tl.constexpr,
                  SPLITS: tl.constexpr, SCALE: tl.constexpr, WIDE: tl.constexpr):  # fmt: skip
    n = tl.program_id(0).to(tl.int64)
    h = tl.program_id(1)
    split = tl.program_id(2)
    length = tl.load(positions + n).to(tl.int32) + 1
    n_tiles = tl.cdiv(length, TILE)
    n_each = tl.cdiv(n_tiles, SPLITS)
    n_used = tl.cdiv(n_tiles, n_each)
    if split >= n_used:
        return
    g = tl.arange(0, GROUP)
    d = tl.arange(0, D)
    q = tl.load(qkv + ((n * (G + 2) * HK + h * G + g) * D)[:, None] + d[None, :], mask=(g < G)[:, None], other=0.0)
    cache = (tl.load(rows + n) * HK + h) * n_positions * D
    most = tl.full((GROUP,), -float("inf"), WIDE)
    total = tl.zeros((GROUP,), WIDE)
    sums = tl.zeros((GROUP, D), WIDE)
    for tile in range(split * n_each, tl.minimum((split + 1) * n_each, n_tiles)):
        at = tile * TILE + tl.arange(0, TILE)
        here = cache + at[:, None] * D + d[None, :]
        k = tl.load(keys + here, mask=(at < length)[:, None], other=0.0)
        v = tl.load(values + here, mask=(at < length)[:, None], other=0.0)
        scores = tl.dot(q, tl.trans(k), input_precision="ieee", out_dtype=WIDE) * SCALE
        scores = tl.where((at < length)[None, :], scores, -float("inf"))
        most, total, sums = softened(scores, v, most, total, sums, WIDE)
    sums = sums / total[:, None]
    to = out + ((n * HK + h) * G + g)[:, None] * D + d[None, :]
    if n_used == 1:
        tl.store(to, sums.to(out.dtype.element_ty), mask=(g < G)[:, None])
        return
    head = n * HK + h
    mine = (head * SPLITS + split) * G + g
    tl.store(logsums + mine, most + tl.log(total), mask=g < G)
    tl.store(partial + mine[:, None] * D + d[None, :], sums, mask=(g < G)[:, None])
    tl.debug_barrier()  # every thread has stored before one of them counts
    if tl.atomic_add(n_done + head, 1, sem="acq_rel") == n_used - 1:
        tl.debug_barrier()
        tl.store(n_done + head, 0)  # for the next launch
        s = tl.arange(0, SPLITS)
        for i in tl.static_range(G):
            theirs = (head * SPLITS + s) * G + i
            # .cg: past the multiprocessor's own cache, which does not see what others stored
            logsum = tl.load(logsums + theirs, mask=s < n_used, other=-float("inf"), cache_modifier=".cg")
            parts = tl.load(partial + theirs[:, None] * D + d[None, :], mask=(s < n_used)[:, None], other=0.0,
                            cache_modifier=".cg")  # fmt: skip
            weights = tl.exp(logsum - tl.max(logsum, 0))
            whole = tl.sum(parts * (weights / tl.sum(weights, 0))[:, None], 0)
            tl.store(out + (head * G + i) * D + d, whole.to(out.dtype.element_ty))


def n_splits(n_rows: int, n_kv_heads: int, n_tiles: int) -> int:
    """Into how many programs the attention of one row and kv head is split, at most: a power of two."""
    return block(max(1, min(MAX_SPLITS, PROGRAMS // (n_rows * n_kv_heads), n_tiles)))


@operation(
    fake=lambda qkv, keys, values, rows, positions, n_done: qkv.new_empty(
        len(qkv), qkv.shape[1] - 2 * keys.shape[1] * keys.shape[3]
    ),
    mutates=("n_done",),
)
def attend(qkv: Tensor, keys: Tensor, values: Tensor, rows: Tensor, positions: Tensor, n_done: Tensor) -> Tensor:
    """Each token's attention over the positions of its cache row up to its own: [N, HQ * D].

    qkv: as `layers.qk` leaves it. keys, values: [rows, HK, P, D]. rows, positions: int64 [N]. n_done: int32 zeros
    [N * HK], zeros again afterwards: the program that ends last for a row and head combines what the others found.
    """
    n_kv_heads, n_positions, width = keys.shape[1:]
    n, n_groups = len(qkv), qkv.shape[1] // (n_kv_heads * width) - 2
    check_contiguous(qkv, keys, values, rows, positions)
    assert len(n_done) >= n * n_kv_heads
    out = qkv.new_empty(n, n_groups * n_kv_heads * width)
    tile = max(16, min(TILE_BYTES // qkv.itemsize, block(n_positions)))
    splits = n_splits(n, n_kv_heads, triton.cdiv(n_positions, tile))
    kind = torch.promote_types(qkv.dtype, torch.float32)
    partial = qkv.new_empty(n * n_kv_heads * splits * n_groups, width, dtype=kind)
    with on(qkv):
        attend_kernel[n, n_kv_heads, splits](
            qkv, keys, values, rows, positions, out, partial, partial.new_empty(len(partial)), n_done, n_positions,
            n_kv_heads, n_groups, width, block(max(n_groups, 16)), tile, splits, width**-0.5, wide(qkv),
        )  # fmt: skip
    return out


@triton.jit
def attend_packed_kernel(qkv, starts, out, n_tokens, HK: tl.constexpr, G: tl.constexpr, D: tl.constexpr,
                         TILE: tl.constexpr, SCALE: tl.constexpr, WIDE: tl.constexpr):  # fmt: skip
    first = tl.program_id(0) * TILE
    h = tl.program_id(1)
    t = first + tl.arange(0, TILE)
    d = tl.arange(0, D)
    width = (G + 2) * HK * D
    q = tl.load(qkv + t[:, None] * width + h * D + d[None, :], mask=(t < n_tokens)[:, None], other=0.0)
    start = tl.load(starts + t, mask=t < n_tokens, other=n_tokens).to(tl.int32)
    key = qkv + (G * HK + h // G) * D
    most = tl.full((TILE,), -float("inf"), WIDE)
    total = tl.zeros((TILE,), WIDE)
    sums = tl.zeros((TILE, D), WIDE)
    for tile in range(tl.min(start, 0) // TILE, tl.program_id(0) + 1):
        at = tile * TILE + tl.arange(0, TILE)
        here = key + at[:, None] * width + d[None, :]
        k = tl.load(here, mask=(at < n_tokens)[:, None], other=0.0)
        v = tl.load(here + HK * D, mask=(at < n_tokens)[:, None], other=0.0)
        scores = tl.dot(q, tl.trans(k), input_precision="ieee", out_dtype=WIDE) * SCALE
        is_seen = (at[None, :] >= start[:, None]) & (at[None, :] <= t[:, None])
        scores = tl.where(is_seen, scores, -float("inf"))
        most, total, sums = softened(scores, v, most, total, sums, WIDE)
    sums = sums / tl.where(t < n_tokens, total, 1.0)[:, None]
    tl.store(out + (t * G * HK + h)[:, None] * D + d[None, :], sums.to(out.dtype.element_ty),
             mask=(t < n_tokens)[:, None])  # fmt: skip


@operation(fake=lambda qkv, starts, n_kv_heads, width: qkv.new_empty(len(qkv), qkv.shape[1] - 2 * n_kv_heads * width))
def attend_packed(qkv: Tensor, starts: Tensor, n_kv_heads: int, width: int) -> Tensor:
    """The attention of each token of a pack over the pack's tokens from starts[t] to t: [T, HQ * D].

    qkv: as `layers.qk` leaves it, [T, (HQ + 2 HK) * D]. starts: int64 [T], starts[t] at most t. width: D.
    """
    check_contiguous(qkv, starts)
    n, n_groups = len(qkv), qkv.shape[1] // (n_kv_heads * width) - 2
    out = qkv.new_empty(n, n_groups * n_kv_heads * width)
    tile = TILE_BYTES // qkv.itemsize
    with on(qkv):
        attend_packed_kernel[triton.cdiv(n, tile), n_groups * n_kv_heads](
            qkv, starts, out, n, n_kv_heads, n_groups, width, tile, width**-0.5, wide(qkv)
        )
    return out
