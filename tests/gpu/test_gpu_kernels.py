"""Triton's kernels beside eager torch on one GPU: logits within the dtype's precision, and the same codes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.gpu.conftest import Load, utterances
from tests.gpu.test_gpu_engine import moved, same, same_codes
from tests.gpu.test_gpu_logits import TOLERANCE, distance, logits
from worker.engine.qwen import Sampling

WAYS = ("triton", "torch")


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_teacher_forced_logits_are_those_of_torch(load: Load, dtype: str) -> None:
    ours, theirs = (logits(load("cuda", dtype, kernels=way)) for way in WAYS)
    assert distance(ours, theirs) < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_in_halves_they_are_no_less_exact_than_torch(load: Load, dtype: str) -> None:
    true = logits(load("cpu", "float64"))
    ours, theirs = (distance(logits(load("cuda", dtype, kernels=way)), true) for way in WAYS)
    assert ours < 1.25 * theirs


@pytest.mark.parametrize("way", WAYS)
def test_codes_are_those_of_a_cpu(load: Load, way: str) -> None:
    """In float64, where rounding changes none: greedy and drawn, with any top-k, top-p and penalty."""
    on_cpu, engine = load("cpu", "float64"), load("cuda", "float64", kernels=way)
    asked = utterances(on_cpu, 9)
    odd = (Sampling(top_k=1), Sampling(top_k=200), Sampling(top_k=0, predictor_top_k=0), Sampling(predictor_top_p=0.8))
    asked += [replace(asked[n], sampling=sampling) for n, sampling in enumerate(odd)]
    for speech, wanted in zip(engine.synthesize(moved(asked, engine)), on_cpu.synthesize(asked), strict=True):
        same(speech, wanted, lsb=1)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_a_full_batch_is_spoken_with_the_same_codes_each_time(load: Load, dtype: str) -> None:
    """The programs of a launch end in any order, and their order must change nothing."""
    engine = load("cuda", dtype)
    asked = utterances(engine)
    first = engine.synthesize(asked)
    for _ in range(5):
        for speech, wanted in zip(engine.synthesize(asked), first, strict=True):
            same_codes(speech, wanted)


def test_a_long_row_changes_no_short_one(load: Load) -> None:
    """Each row attends to its own length."""
    engine = load("cuda", "float64", kernels="triton")
    [short, long] = utterances(engine, 2)
    [alone] = engine.synthesize([short])
    resumed = np.random.default_rng(0).integers(0, 2048, (200, 16), np.uint16)
    long = replace(long, resume=resumed, max_frames=230)
    beside, _ = engine.synthesize([short, long])
    same(beside, alone)


def test_rows_that_leave_in_any_order_change_no_other(load: Load) -> None:
    engine = load("cuda", "float64", kernels="triton")
    asked = [replace(utterance, max_frames=30) for utterance in utterances(engine)]
    wanted = engine.synthesize(asked)
    for cancelled in ((0,), (3, 1), (6, 0, 2), (5, 4, 3, 2, 1)):
        codes: dict[int, list[list[int]]] = {n: [] for n in range(len(asked))}
        leaving = list(cancelled)
        for n, event in enumerate(engine.stream(asked)):
            codes[event.index] += event.codes.tolist()
            if leaving and n % 3 == 2:
                engine.cancel(leaving.pop(0))
        for n, speech in enumerate(wanted):
            if n not in cancelled:
                assert codes[n] == speech.codes.tolist()
