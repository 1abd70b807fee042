"""A frame whose codes are drawn by kernels is the eager one: its codes, and all that the next frame reads."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from worker.engine.qwen.frame import FrameStep, Plan
from worker.engine.qwen.loader import load
from worker.engine.qwen.runner import ModelRunner
from worker.engine.qwen.state import Arena

pytest.importorskip("triton")

N_SLOTS, N_POSITIONS, N_FRAMES = 4, 16, 3
WRITTEN = ("inputs", "positions", "frames", "seen")
CHOICES = [(0.9, 50), (0.0, 50), (1.2, 0), (0.7, 200)]  # temperature, top_k


@pytest.fixture(scope="module")
def runner(device: torch.device, tiny: Path) -> ModelRunner:
    return ModelRunner(load(str(tiny), device=device.type, dtype="float32"), N_SLOTS, N_POSITIONS)


def speaking(arena: Arena) -> None:
    """Rows as in the middle of a segment."""
    generator = torch.Generator().manual_seed(7)
    arena.inputs.copy_(torch.randn(arena.inputs.shape, generator=generator) * 0.1)
    arena.text.copy_(torch.randn(arena.text.shape, generator=generator) * 0.1)
    arena.seen.copy_(torch.rand(arena.seen.shape, generator=generator) < 0.2)
    arena.seeds.copy_(torch.randint(2**63 - 1, arena.seeds.shape, generator=generator))
    arena.frames.copy_(torch.tensor([0, 1, 5, 900, 0]))
    arena.earliest_end.fill_(2)
    arena.penalty.copy_(torch.tensor([1.05, 1.3, 1.0, 2.0, 1.0]))
    for row, (temperature, top_k) in enumerate(CHOICES):
        arena.talker_draws.set(row, temperature, top_k, 1.0)
        arena.predictor_draws.set(row, temperature, top_k, 1.0)


@torch.inference_mode()
def test_frames_drawn_by_kernels_are_the_eager_ones(runner: ModelRunner) -> None:
    arena, step = runner.arena, runner._step
    eager, fused = (
        FrameStep(runner._talker, runner._predictor, arena, step._suppressed, runner.eos, has_kernels)
        for has_kernels in (False, True)
    )
    speaking(arena)
    for frame in range(N_FRAMES):
        rows = [[2], [3, 0, 1], [1, 4, 2]][frame]  # the last with the spare one
        arena.stepping[: len(rows)].copy_(torch.tensor(rows))
        before = {name: getattr(arena, name).clone() for name in WRITTEN}
        eager(Plan(len(rows)))
        wanted, after = arena.codes[: len(rows)].clone(), state_of(arena)
        for name, kept in before.items():
            getattr(arena, name).copy_(kept)
        arena.codes.zero_()
        fused(Plan(len(rows)))
        assert arena.codes[: len(rows)].tolist() == wanted.tolist()
        for name, kept in state_of(arena).items():
            torch.testing.assert_close(kept, after[name], rtol=1e-6, atol=1e-6, msg=name)


def state_of(arena: Arena) -> dict[str, Tensor]:
    """What the next frame reads of the slots' rows."""
    return {name: getattr(arena, name)[:N_SLOTS].clone() for name in WRITTEN}
