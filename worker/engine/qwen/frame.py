"""One frame of every row that steps: talker, sampler, fifteen predictor passes, the next input.

The same function runs eagerly on a CPU and inside a CUDA graph: it branches on its plan alone, which the host knows,
reads and writes the arena, and never waits for the device.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from worker.engine.base import N_CODEBOOKS
from worker.engine.qwen import sampler
from worker.engine.qwen.predictor import Predictor
from worker.engine.qwen.sampler import Cut
from worker.engine.qwen.slots import Arena
from worker.engine.qwen.talker import Talker


@dataclass(frozen=True, slots=True)
class Plan:
    """What the host decides about a step. is_padded: rows beyond the live ones take part, and must not advance."""

    n_rows: int
    n_attended: int
    talker_cut: Cut
    predictor_cut: Cut
    margins: bool = False
    is_padded: bool = False


class FrameStep:
    """Holds the models over an arena. eos: the code that ends; suppressed: float32 [vocabulary], 0 or -inf."""

    def __init__(self, talker: Talker, predictor: Predictor, arena: Arena, suppressed: Tensor, eos: int) -> None:
        self._talker = talker
        self._predictor = predictor
        self._arena = arena
        self._suppressed = suppressed
        self._eos = eos

    def __call__(self, plan: Plan) -> None:
        """Step the first rows; the result is in the arena's codes (the end token in codebook 0 ends a row)."""
        arena, n = self._arena, plan.n_rows
        frames = arena.frames[:n]
        hidden = self._talker.step(arena.inputs[:n], arena.rows[:n], arena.positions[:n], plan.n_attended)
        keys = sampler.keys(arena.seeds[:n], frames, N_CODEBOOKS)
        logits = sampler.penalize(self._talker.logits(hidden), arena.seen[:n], arena.penalty[:n])
        logits = sampler.suppress(logits, frames, self._suppressed, self._eos)
        draws, cut = arena.talker_draws.rows(n), plan.talker_cut
        drawn = [sampler.draw(logits, draws, keys[:, 0], cut, plan.margins)]
        embedded = self._talker.embedding.index_select(0, drawn[0][0])
        draws, cut = arena.predictor_draws.rows(n), plan.predictor_cut

        def choose(logits: Tensor, codebook: int) -> Tensor:
            drawn.append(sampler.draw(logits, draws, keys[:, codebook], cut, plan.margins))
            return drawn[-1][0]

        others = self._predictor.frame(hidden, embedded, choose)
        torch.stack([codes for codes, _ in drawn], 1, out=arena.codes[:n])
        if plan.margins:
            torch.stack([margins for _, margins in drawn if margins is not None], 1, out=arena.margins[:n])
        self._advance(plan, drawn[0][0], torch.stack((embedded, *others), 1).sum(1).add_(arena.text[:n]))

    def _advance(self, plan: Plan, first: Tensor, inputs: Tensor) -> None:
        arena, n = self._arena, plan.n_rows
        if plan.is_padded:
            live = arena.live[:n]
            inputs = torch.where(live[:, None] > 0, inputs, arena.inputs[:n])
            first = torch.where(live > 0, first, self._eos)  # whether the end token was seen changes nothing
        else:
            live = arena.ones[:n]
        arena.seen[:n].scatter_(1, first[:, None], True)
        arena.inputs[:n].copy_(inputs)
        arena.positions[:n].add_(live)
        arena.frames[:n].add_(live)
