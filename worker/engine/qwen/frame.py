"""One frame of every stepping row: talker, sampler, fifteen predictor passes, the next input.

The same function runs eagerly on a CPU and inside a CUDA graph. So it branches on its plan alone, which the host knows,
reads and writes the arena, and never waits for the device.
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
    """The shape of a step; the key of its CUDA graph."""

    n_rows: int
    talker_shape: SamplingShape
    predictor_shape: SamplingShape
    margins: bool = False


class FrameStep:
    """A step of the models over an arena. eos: the end token. suppressed: float32 [vocabulary], 0 or -inf."""

    def __init__(self, talker: Talker, predictor: Predictor, arena: Arena, suppressed: Tensor, eos: int) -> None:
        self._talker = talker
        self._predictor = predictor
        self._arena = arena
        self._suppressed = suppressed
        self._eos = eos

    def __call__(self, plan: Plan, lengths: Sequence[int] | None = None) -> None:
        """Step the rows that `arena.stepping` begins with. The result is the beginning of arena.codes; the end token in
        codebook 0 ends a segment.

        lengths: how many positions of its KV cache each row attends to, where the host may branch on it.
        """
        arena, n = self._arena, plan.n_rows
        rows = arena.stepping[:n]
        positions, frames = arena.positions.index_select(0, rows), arena.frames.index_select(0, rows)
        hidden = self._talker.step(arena.inputs.index_select(0, rows), rows, positions, lengths)
        keys = sampler.keys(arena.seeds.index_select(0, rows), frames, N_CODEBOOKS)
        seen, penalty = arena.seen.index_select(0, rows), arena.penalty.index_select(0, rows)
        logits = sampler.penalize(self._talker.logits(hidden), seen, penalty)
        earliest_end = arena.earliest_end.index_select(0, rows)
        logits = sampler.suppress(logits, frames, self._suppressed, self._eos, earliest_end)
        draws, shape = arena.talker_draws.rows(rows), plan.talker_shape
        drawn = [sampler.draw(logits, draws, keys[:, 0], shape, plan.margins)]
        embedded = self._talker.embedding.index_select(0, drawn[0][0])
        draws, shape = arena.predictor_draws.rows(rows), plan.predictor_shape
        # On a GPU a kernel's launch costs more than its work: one kernel for the noise of all codes and passes.
        by_pass = (keys if keys.is_cpu or shape.k == 1 else sampler.noise(keys[:, :, None], draws.tokens)).unbind(1)

        def choose(logits: Tensor, codebook: int) -> Tensor:
            drawn.append(sampler.draw(logits, draws, by_pass[codebook], shape, plan.margins))
            return drawn[-1][0]

        others = self._predictor.frame(hidden, embedded, choose)
        torch.stack([codes for codes, _ in drawn], 1, out=arena.codes[:n])
        if plan.margins:
            torch.stack([margins for _, margins in drawn if margins is not None], 1, out=arena.margins[:n])
        inputs = torch.stack((embedded, *others), 1).sum(1).add_(arena.text.index_select(0, rows))
        arena.inputs.index_copy_(0, rows, inputs)
        arena.seen.view(-1).index_fill_(0, rows * arena.seen.shape[1] + drawn[0][0], True)
        # The spare row steps for ever.
        arena.positions.index_copy_(0, rows, (positions + 1).clamp_max_(arena.n_positions - 1))
        arena.frames.index_copy_(0, rows, frames + 1)
