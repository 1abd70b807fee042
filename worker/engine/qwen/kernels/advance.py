"""The end of a frame as one launch: each row's next input and counters."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from worker.engine.qwen.kernels.launch import block, on, operation, wide


@triton.jit
def advance_kernel(
    embedded, rows, text, inputs, positions, frames, n_rows, width, spare,
    N_CODEBOOKS: tl.constexpr, WIDE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    n = tl.program_id(0).to(tl.int64)
    row = tl.load(rows + n)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    kept = at < width
    total = tl.zeros((BLOCK,), WIDE)
    for codebook in range(N_CODEBOOKS):
        total += tl.load(embedded + (codebook * n_rows + n) * width + at, kept, other=0.0).to(WIDE)
    total = total.to(inputs.dtype.element_ty).to(WIDE)  # as eager torch rounds the sum
    total += tl.load(text + row * width + at, kept, other=0.0).to(WIDE)
    tl.store(inputs + row * width + at, total.to(inputs.dtype.element_ty), kept)
    if (tl.program_id(1) == 0) & (row != spare):
        tl.store(positions + row, tl.load(positions + row) + 1)
        tl.store(frames + row, tl.load(frames + row) + 1)


@operation(fake=lambda *_: None, mutates=("inputs", "positions", "frames"))
def advance(
    embedded: Tensor, rows: Tensor, text: Tensor, inputs: Tensor, positions: Tensor, frames: Tensor, spare: int
) -> None:
    """inputs[rows] = the sum of embedded [codebooks, B, D] plus text[rows]; positions[rows] and frames[rows] grow by 1.

    rows: int64 [B] of text and inputs [N, D], positions and frames int64 [N]; all different, but for the spare one,
    whose counters stay as they are. Every tensor is contiguous.
    """
    n_codebooks, n_rows, width = embedded.shape
    size = block(width, 256)
    with on(embedded):
        advance_kernel[n_rows, triton.cdiv(width, size)](
            embedded, rows, text, inputs, positions, frames, n_rows, width, spare,
            n_codebooks, wide(embedded), size, num_warps=2,
        )  # fmt: skip
