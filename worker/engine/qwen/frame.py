"""One frame of every stepping row: talker, sampler, fifteen predictor passes, the next input.

The same function runs eagerly on a CPU and inside a CUDA graph. So it branches on its plan alone, which the host knows,
reads and writes the arena, and never waits for the device.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from worker.engine.base import N_CODEBOOKS
from worker.engine.qwen import sampler
from worker.engine.qwen.predictor import Predictor
from worker.engine.qwen.sampler import Parameters, Rows, SamplingShape
from worker.engine.qwen.state import Arena
from worker.engine.qwen.talker import Talker


@dataclass(frozen=True, slots=True)
class Plan:
    """The shape of a step; the key of its CUDA graph. is_padded: rows beyond the live ones step without advancing."""

    n_rows: int
    n_attended: int
    talker_shape: SamplingShape
    predictor_shape: SamplingShape
    margins: bool = False
    is_padded: bool = False


class FrameStep:
    """A step of the models over an arena. eos: the end token. suppressed: float32 [vocabulary], 0 or -inf."""

    def __init__(self, talker: Talker, predictor: Predictor, arena: Arena, suppressed: Tensor, eos: int) -> None:
        self._talker = talker
        self._predictor = predictor
        self._arena = arena
        self._suppressed = suppressed
        self._eos = eos
        last = len(suppressed) - 1
        self._never_drawn = last if eos != last else last - 1  # suppressed, as all of the vocabulary's end but eos

    def __call__(self, plan: Plan) -> None:
        """Step the first rows. The result is arena.codes; the end token in codebook 0 ends a segment."""
        arena, n = self._arena, plan.n_rows
        frames = arena.frames[:n]
        hidden = self._talker.step(arena.inputs[:n], arena.rows[:n], arena.positions[:n], plan.n_attended)
        keys = sampler.keys(arena.seeds[:n], frames, N_CODEBOOKS)
        logits = sampler.penalize(self._talker.logits(hidden), arena.seen[:n], arena.penalty[:n])
        logits = sampler.suppress(logits, frames, self._suppressed, self._eos, arena.earliest_end[:n])
        draws, shape = _draws(arena.talker_draws, plan, plan.talker_shape), plan.talker_shape
        drawn = [sampler.draw(logits, draws, keys[:, 0], shape, plan.margins)]
        embedded = self._talker.embedding.index_select(0, drawn[0][0])
        draws, shape = _draws(arena.predictor_draws, plan, plan.predictor_shape), plan.predictor_shape
        # On a GPU a kernel's launch costs more than its work: one kernel for the noise of all codes and passes.
        by_pass = (keys if keys.is_cpu or shape.k == 1 else sampler.noise(keys[:, :, None], draws.tokens)).unbind(1)

        def choose(logits: Tensor, codebook: int) -> Tensor:
            drawn.append(sampler.draw(logits, draws, by_pass[codebook], shape, plan.margins))
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
            first = torch.where(live > 0, first, self._never_drawn)  # the scatter below marks it as seen
        else:
            live = arena.ones[:n]
        arena.seen[:n].scatter_(1, first[:, None], True)
        arena.inputs[:n].copy_(inputs)
        arena.positions[:n].add_(live)
        arena.frames[:n].add_(live)


def _draws(parameters: Parameters, plan: Plan, shape: SamplingShape) -> Rows:
    """The rows' parameters. Padding rows may have a wider top-k than the step's shape, so theirs is clamped."""
    rows = parameters.rows(plan.n_rows)
    return replace(rows, last=rows.last.clamp_max(shape.k - 1)) if plan.is_padded and shape.k > 1 else rows
