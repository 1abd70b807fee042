"""A draw as one launch: from the logits of a head to each row's code and its embedding.

A code is the one of `sampler.draw` without top-p, with the noise of `sampler.keys` and `sampler.noise`. Radix select
finds the k-th largest logit: each pass counts the next eight bits of the logits whose bits so far are those found. So
every top-k costs the same, and all logits that tie with the k-th are kept, as by upstream's warper.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.language.extra import libdevice

from worker.engine.qwen.kernels.launch import block, on, operation

INTERPRETED = tl.constexpr(triton.knobs.runtime.interpret)
SIGN = tl.constexpr(-(2**31))
First = tuple[Tensor, Tensor, Tensor, Tensor, int]
PASSES = {torch.bfloat16: 2, torch.float16: 3}  # as a float32, their other bits are zero


@triton.jit
def _mix(x):
    """sampler._mix of int64 x."""
    x = x * 0x53C5CA59
    x = (x ^ (x >> 32)) & 0xFFFFFFFF
    x = x * 0x74743C1B
    return (x ^ (x >> 32)) & 0xFFFFFFFF


@triton.jit
def _key(seed, frame, codebook):
    """sampler.keys for one codebook."""
    x = _mix((seed & 0xFFFFFFFF) ^ 0x3C6EF372)
    x = x ^ (seed >> 32) ^ ((frame * 0x1E3779B9) & 0xFFFFFFFF)
    return _mix(_mix(x) ^ ((codebook + 1) * 0x05EBCA6B))


@triton.jit
def _noise(key, tokens):
    """sampler.noise. The interpreter has no log1p: there a float64 logarithm is corrected for the rounding of 1 + x."""
    u = (_mix(tokens.to(tl.int64) ^ key).to(tl.float32) + 0.5) * (-(2.0**-32) * (1 - 2.0**-24))
    if INTERPRETED:
        x = u.to(tl.float64)
        return tl.log((-tl.log(1 + x) * (x / ((1 + x) - 1))).to(tl.float32))
    else:
        return libdevice.log(-libdevice.log1p(u))


@triton.jit
def _kth(x, is_token, k, PASSES: tl.constexpr):
    """The k-th largest of float32 x where is_token, of which there are at least k."""
    bits = x.to(tl.int32, bitcast=True)
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF) ^ SIGN  # unsigned, these order as the numbers do
    found = 0
    for n in tl.static_range(PASSES):
        digits = (ordered >> (24 - 8 * n)) & 255
        counts = tl.histogram(digits, 256, is_token)
        n_from = tl.cumsum(counts, 0, reverse=True)  # how many have at least this digit
        # Of the digits with enough, the largest has the fewest above it: one reduction finds both.
        least = tl.min(tl.where(n_from >= k, ((n_from - counts) << 8) | tl.arange(0, 256), 0x7FFFFFFF), 0)
        k -= least >> 8
        found = (found << 8) | (least & 255)
        is_token = is_token & (digits == (least & 255))
    rest: tl.constexpr = 32 - 8 * PASSES
    found = (found << rest) ^ SIGN
    return ((found ^ ((found >> 31) & 0x7FFFFFFF)) & -(1 << rest)).to(tl.float32, bitcast=True)


@triton.jit(do_not_specialize=["codebook"])  # one kernel for all codebooks
def draw_kernel(
    logits, stride, rows, seeds, frames, temperature, last, noise, table, codes, embedded, codebook,
    seen, penalty, mask, earliest_end, eos,
    n_tokens, width, n_codebooks,
    IS_FIRST: tl.constexpr, PASSES: tl.constexpr, TOKENS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    n = tl.program_id(0).to(tl.int64)
    row = tl.load(rows + n)
    frame = tl.load(frames + row)
    tokens = tl.arange(0, TOKENS)
    is_token = tokens < n_tokens
    x = tl.load(logits + n * stride + tokens, is_token, other=0.0).to(tl.float32)
    if IS_FIRST:
        factor = tl.load(penalty + row)
        is_seen = tl.load(seen + row * n_tokens + tokens, is_token, other=0) != 0
        x = tl.where(is_seen, tl.where(x < 0, x * factor, tl.div_rn(x, factor)), x)
        x += tl.load(mask + tokens, is_token, other=0.0)
        x = tl.where((tokens == eos) & (frame < tl.load(earliest_end + row)), -float("inf"), x)
    kth = _kth(x, is_token, tl.load(last + row).to(tl.int32) + 1, PASSES)
    warmth = tl.load(temperature + row)
    scores = tl.div_rn(x, warmth)
    is_kept = is_token & (scores >= tl.div_rn(kth, warmth))  # division makes ties of logits that hardly differ
    scores -= tl.load(noise + row) * _noise(_key(tl.load(seeds + row), frame, codebook), tokens)
    code = tl.argmax(tl.where(is_kept, scores, -float("inf")), 0).to(tl.int64)
    tl.store(codes + n * n_codebooks + codebook, code)
    if IS_FIRST:
        tl.store(seen + row * n_tokens + code, 1)
    d = tl.arange(0, WIDTH)
    tl.store(embedded + n * width + d, tl.load(table + code * width + d, d < width), d < width)


def _launch(
    logits: Tensor, rows: Tensor, seeds: Tensor, frames: Tensor, temperature: Tensor, last: Tensor, noise: Tensor,
    table: Tensor, codes: Tensor, embedded: Tensor, codebook: int, first: First | None = None,
) -> None:  # fmt: skip
    n_tokens, width = logits.shape[1], table.shape[1]
    size = max(block(n_tokens), 256)  # tl.histogram counts a number once for each thread that holds it
    with on(logits):
        draw_kernel[len(rows),](
            logits, logits.stride(0), rows, seeds, frames, temperature, last, noise, table, codes, embedded, codebook,
            *(first or (None, None, None, None, 0)), n_tokens, width, codes.shape[1],
            first is not None, 4 if first else PASSES.get(logits.dtype, 4), size, block(width),
            num_warps=min(size // 256, 16),
        )  # fmt: skip


def _nothing(*_: object, **__: object) -> None:
    """Registered for tensors without numbers: these operations only write."""


@operation(fake=_nothing, mutates=("codes", "embedded"))
def draw(
    logits: Tensor, rows: Tensor, seeds: Tensor, frames: Tensor, temperature: Tensor, last: Tensor, noise: Tensor,
    table: Tensor, codes: Tensor, embedded: Tensor, codebook: int,
) -> None:  # fmt: skip
    """Draw codes[:B, codebook], int64, and write the codes' rows of the table [V, D] to embedded [B, D].

    logits: [B, V], bfloat16, float16, or drawn from as float32. rows: int64 [B], each one's place in every tensor of N:
    seeds, frames int64 [N]; temperature, noise float32 [N, 1] and last int64 [N, 1], as in `sampler.Rows`. Each tensor
    is contiguous, but for the logits' rows.
    """
    _launch(logits, rows, seeds, frames, temperature, last, noise, table, codes, embedded, codebook)


@operation(fake=_nothing, mutates=("codes", "embedded", "seen"))
def draw_first(
    logits: Tensor, rows: Tensor, seeds: Tensor, frames: Tensor, temperature: Tensor, last: Tensor, noise: Tensor,
    table: Tensor, codes: Tensor, embedded: Tensor,
    seen: Tensor, penalty: Tensor, mask: Tensor, earliest_end: Tensor, eos: int,
) -> None:  # fmt: skip
    """`draw` for codebook 0, after `sampler.penalize` and `sampler.suppress`; marks the code in seen.

    seen: bool [N, V]. penalty: float32 [N]. mask: float32 [V]. earliest_end: int64 [N]. eos: the end token.
    """
    first = (seen, penalty, mask, earliest_end, eos)
    _launch(logits, rows, seeds, frames, temperature, last, noise, table, codes, embedded, 0, first)
