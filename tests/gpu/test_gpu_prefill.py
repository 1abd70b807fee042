"""Packed prefill on a GPU: prompts filled in one launch leave the KV caches that each leaves by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.gpu.conftest import Load, utterances
from tests.gpu.test_gpu_engine import eagerly
from worker.engine.qwen import QwenEngine
from worker.engine.qwen.active_segment import ActiveSegment

# Root mean square of the difference, of that of the cache. Norms are float32 in every engine.
TOLERANCE = {"float64": 1e-5, "float32": 1e-4, "bfloat16": 0.03}


def segments(engine: QwenEngine) -> list[ActiveSegment]:
    """Of every kind of prompt, and a long one that resumes; each in a slot of its own, not in order."""
    asked = utterances(engine)
    codes = np.random.default_rng(0).integers(0, 2048, (150, 16), np.uint16)
    asked[2] = replace(asked[2], resume=codes, max_frames=200)
    made = [engine.prepare(utterance) for utterance in asked]
    for slot, segment in zip((3, 0, 6, 1, 5, 2, 4), made, strict=True):
        segment.slot = slot
    return made


@torch.inference_mode()
def filled(engine: QwenEngine, made: list[ActiveSegment], calls: Sequence[Sequence[int]]) -> list[NDArray[np.float64]]:
    """Keys and values of each segment's prompt after `begin` with these groups of them."""
    runner = engine._runner
    for cache in runner._talker.caches:
        cache.keys.zero_()
        cache.values.zero_()
    for call in calls:
        runner.begin([made[n] for n in call])
    found = []
    for segment in made:
        n = len(segment.prefill.embeds) - 1
        parts = [kept[segment.slot, :, :n] for c in runner._talker.caches for kept in (c.keys, c.values)]
        found.append(torch.stack(parts).double().cpu().numpy())
    return found


@pytest.mark.parametrize("kernels", ["triton", "torch"])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_prompts_in_one_launch_are_as_each_by_itself(load: Load, dtype: str, kernels: str) -> None:
    engine = load("cuda", dtype, kernels=kernels)
    made = segments(engine)
    wanted = filled(engine, made, [[n] for n in range(7)])
    for calls in ([range(7)], [[2, 6, 0], [5, 1, 4, 3]]):
        for cache, alone in zip(filled(engine, made, calls), wanted, strict=True):
            off = np.sqrt(np.square(cache - alone).mean() / np.square(alone).mean())
            assert off < TOLERANCE[dtype]


def test_a_graph_of_it_writes_what_eager_calls_write(load: Load) -> None:
    engine = load("cuda", "bfloat16")
    made = segments(engine)
    graphed = filled(engine, made, [range(7)])
    with eagerly(engine):
        for cache, eager in zip(filled(engine, made, [range(7)]), graphed, strict=True):
            assert np.array_equal(cache, eager)
