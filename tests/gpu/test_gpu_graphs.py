"""Which steps have a CUDA graph: every usual one from the start, and others from their second time on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.gpu.conftest import Load, utterances
from tests.gpu.test_gpu_engine import eagerly, same
from worker.engine.qwen import QwenEngine, Sampling

MOST_AT_START = 106  # with 64 slots


def n_graphs(engine: QwenEngine) -> int:
    return sum(replayer.n_graphs for replayer in engine._runner.replayers)


@pytest.mark.parametrize("n_slots", [7, 64])
def test_usual_speech_finds_all_its_graphs(load: Load, n_slots: int) -> None:
    """With any top-k."""
    engine = load("cuda", "bfloat16", n_slots)
    usual = [
        replace(utterance, sampling=Sampling(top_k=n % 60, predictor_top_k=3 * n))
        for n, utterance in enumerate(utterances(engine, n_slots))
    ]
    before, n_eager = n_graphs(engine), engine._runner.n_eager.total()
    engine.synthesize(usual, margins=False)
    assert engine._runner.n_eager.total() == n_eager
    assert n_graphs(engine) == before <= MOST_AT_START


def test_an_unusual_kind_is_captured_when_it_is_first_spoken(load: Load) -> None:
    engine = load("cuda", "float32", 5)
    [plain] = utterances(engine, 1)
    odd = replace(plain, sampling=Sampling(top_p=0.7), max_frames=6)
    before, n_eager = n_graphs(engine), engine._runner.n_eager["frame"]
    first = engine.synthesize([odd], margins=True)[0]
    assert engine._runner.n_eager["frame"] == n_eager + 1, "the first step of it ran without a graph"
    assert n_graphs(engine) == before + 1
    again = engine.synthesize([odd], margins=True)[0]
    assert engine._runner.n_eager["frame"] == n_eager + 1
    same(again, first)
    with eagerly(engine):
        same(engine.synthesize([odd], margins=True)[0], first)


def test_a_capture_while_another_thread_encodes_a_voice_disturbs_neither(load: Load) -> None:
    engine = load("cuda", "float64", 3)
    asked = utterances(engine, 3)
    wanted = [engine.synthesize([utterance])[0] for utterance in asked]

    def make_voices() -> int:
        with torch.cuda.stream(torch.cuda.Stream()):
            for _ in range(6):
                made = utterances(engine, 1)[0].voice
                for name, tensor in made.state.items():
                    assert torch.equal(tensor, asked[0].voice.state[name])
        return 6

    with ThreadPoolExecutor(1) as pool:
        made = pool.submit(make_voices)
        for margins in (False, True):
            for speech, theirs in zip(engine.synthesize(asked, margins=margins), wanted, strict=True):
                assert np.array_equal(speech.codes, theirs.codes)
        assert made.result(120) == 6
