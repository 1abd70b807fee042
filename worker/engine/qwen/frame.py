"""One frame of every stepping row: talker, sampler, fifteen predictor passes, the next input.

The same function runs eagerly and inside a CUDA graph. There it branches on its plan alone, which the host knows, reads
and writes the arena, and never waits for the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from worker.engine.base import N_CODEBOOKS
from worker.engine.qwen import sampler
from worker.engine.qwen.predictor import Predictor
from worker.engine.qwen.sampler import SamplingShape
from worker.engine.qwen.state import Arena
from worker.engine.qwen.talker import Talker


@dataclass(frozen=True, slots=True)
class Plan:
    """The shape of a step; the key of its CUDA graph. top_p: it cuts for one of the rows, in either model."""

    n_rows: int
    top_p: bool = False
    margins: bool = False


class FrameStep:
    """A step of the models over an arena. eos: the end token. suppressed: float32 [vocabulary], 0 or -inf.

    has_kernels: codes are drawn by Triton's kernels, but for steps with top-p or margins.
    """

    def __init__(
        self, talker: Talker, predictor: Predictor, arena: Arena, suppressed: Tensor, eos: int,
        has_kernels: bool = False,
    ) -> None:  # fmt: skip
        self._talker = talker
        self._predictor = predictor
        self._arena = arena
        self._suppressed = suppressed
        self._eos = eos
        self._has_kernels = has_kernels

    def __call__(
        self, plan: Plan, host_rows: Sequence[int] | None = None, lengths: Sequence[int] | None = None
    ) -> None:
        """Step the rows that `arena.stepping` begins with. The result is the beginning of arena.codes; the end token in
        codebook 0 ends a segment.

        host_rows: those rows, and lengths: how many positions of its KV cache each attends to, where the host may
        branch on them.
        """
        arena, rows = self._arena, self._arena.stepping[: plan.n_rows]
        positions = arena.positions.index_select(0, rows)
        hidden = self._talker.step(arena.inputs.index_select(0, rows), rows, positions, lengths)
        if self._has_kernels and not (plan.top_p or plan.margins):
            self._draw_by_kernels(rows, hidden)
        elif host_rows is None:
            draws = arena.talker_draws, arena.predictor_draws
            self._draw(plan, rows, positions, hidden, *(each.any_shape(plan.top_p) for each in draws))
        else:
            shapes = arena.talker_draws.shape(host_rows), arena.predictor_draws.shape(host_rows)
            self._draw(plan, rows, positions, hidden, *shapes)

    def _draw(
        self, plan: Plan, rows: Tensor, positions: Tensor, hidden: Tensor, first: SamplingShape, other: SamplingShape
    ) -> None:
        """Draw all codes of rows [B], and set the rows for their next step. hidden: the talker's [B, D]."""
        arena, n = self._arena, plan.n_rows
        frames = arena.frames.index_select(0, rows)
        keys = sampler.keys(arena.seeds.index_select(0, rows), frames, N_CODEBOOKS)
        seen, penalty = arena.seen.index_select(0, rows), arena.penalty.index_select(0, rows)
        logits = sampler.penalize(self._talker.logits(hidden).float(), seen, penalty)
        earliest_end = arena.earliest_end.index_select(0, rows)
        logits = sampler.suppress(logits, frames, self._suppressed, self._eos, earliest_end)
        drawn = [sampler.draw(logits, arena.talker_draws.rows(rows), keys[:, 0], first, plan.margins)]
        embedded = [self._talker.embedding.index_select(0, drawn[0][0])]
        draws = arena.predictor_draws.rows(rows)
        # On a GPU a kernel's launch costs more than its work: one kernel for the noise of all codes and passes.
        by_pass = (keys if keys.is_cpu else sampler.noise(keys[:, :, None], draws.tokens)).unbind(1)

        def choose(logits: Tensor, codebook: int) -> Tensor:
            drawn.append(sampler.draw(logits.float(), draws, by_pass[codebook], other, plan.margins))
            embedded.append(self._predictor.tables[codebook - 1].index_select(0, drawn[-1][0]))
            return embedded[-1]

        self._predictor.frame(hidden, embedded[0], choose)
        torch.stack([codes for codes, _ in drawn], 1, out=arena.codes[:n])
        if plan.margins:
            torch.stack([margins for _, margins in drawn if margins is not None], 1, out=arena.margins[:n])
        inputs = torch.stack(embedded, 1).sum(1).add_(arena.text.index_select(0, rows))
        arena.inputs.index_copy_(0, rows, inputs)
        arena.seen.view(-1).index_fill_(0, rows * arena.seen.shape[1] + drawn[0][0], True)
        arena.positions.index_copy_(0, rows, positions + 1)
        arena.positions[arena.spare :].zero_()  # it steps for ever
        arena.frames.index_copy_(0, rows, frames + 1)

    def _draw_by_kernels(self, rows: Tensor, hidden: Tensor) -> None:
        """`_draw` with one launch for each code."""
        from worker.engine.qwen.kernels.advance import advance
        from worker.engine.qwen.kernels.draw import draw, draw_first

        arena, table = self._arena, self._talker.embedding
        state = rows, arena.seeds, arena.frames
        first, other = arena.talker_draws.every, arena.predictor_draws.every
        embedded = table.new_empty(N_CODEBOOKS, len(rows), table.shape[1])
        draw_first(
            self._talker.logits(hidden), *state, first.temperature, first.last, first.noise, table, arena.codes,
            embedded[0], arena.seen, arena.penalty, self._suppressed, arena.earliest_end, self._eos,
        )  # fmt: skip

        def choose(logits: Tensor, codebook: int) -> Tensor:
            table = self._predictor.tables[codebook - 1]
            draws = other.temperature, other.last, other.noise
            draw(logits, *state, *draws, table, arena.codes, embedded[codebook], codebook)
            return embedded[codebook]

        self._predictor.frame(hidden, embedded[0], choose)
        advance(embedded, rows, arena.text, arena.inputs, arena.positions, arena.frames, arena.spare)
