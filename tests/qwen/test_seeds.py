"""A seed gives the same codes in any company; each slot is drawn by its own parameters."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.qwen.exact import GREEDY, SIXTY, Ties, upstream_codes, voices
from worker.engine.qwen import QwenEngine, Sampling, SpeechRequest, SpeechResult

N_FRAMES = 8
SAMPLINGS = (
    Sampling(),
    Sampling(temperature=1.4, top_k=0, predictor_top_k=0),
    Sampling(top_p=0.6, predictor_top_p=0.7),
    Sampling(top_k=200, top_p=0.9, repetition_penalty=2.0),
    GREEDY,
    Sampling(temperature=0, predictor_temperature=1.2),
    Sampling(temperature=0.4, top_k=3, predictor_top_k=1),
    Sampling(top_k=0, top_p=0.8, repetition_penalty=0.8, predictor_temperature=0),
)


@pytest.fixture(scope="module")
def engine(tiny: Path) -> QwenEngine:
    return QwenEngine.load(str(tiny), device="cpu", dtype="float32", slots=8)


@pytest.fixture(scope="module")
def utterances(engine: QwenEngine) -> list[SpeechRequest]:
    """One for each way of sampling, of different texts, voices and lengths."""
    known = voices(engine)
    return [
        SpeechRequest(SIXTY[: 1 + 7 * n], known[n % 3], "auto", sampling, 100 + n, N_FRAMES, whole_text=n % 2 == 0)
        for n, sampling in enumerate(SAMPLINGS)
    ]


@pytest.fixture(scope="module")
def alone(engine: QwenEngine, utterances: list[SpeechRequest]) -> list[SpeechResult]:
    return [engine.synthesize([utterance])[0] for utterance in utterances]


def test_a_seed_says_the_same_alone_and_among_seven_neighbours_of_other_parameters(
    engine: QwenEngine, utterances: list[SpeechRequest], alone: list[SpeechResult], ties: Ties
) -> None:
    for n, speech in enumerate(engine.synthesize(utterances)):
        ties.same(speech, alone[n].codes, f"neighbour {n}")
    for first in range(8):
        order = [(first + 3 * n) % 8 for n in range(8)]
        some = [replace(utterances[n], max_frames=1 + (n + first) % N_FRAMES) for n in order]
        for n, utterance, speech in zip(order, some, engine.synthesize(some), strict=True):
            ties.same(speech, alone[n].codes[: utterance.max_frames], f"neighbour {n}, round {first}")


def test_other_seeds_say_other_things(
    engine: QwenEngine, utterances: list[SpeechRequest], alone: list[SpeechResult]
) -> None:
    """Seeds whose lower or upper 32 bits are equal, too."""
    seeds = (100, 101, 100 + 2**32, 100 * 2**32, 2**63 - 1, 0)
    spoken = engine.synthesize([replace(utterances[0], seed=seed) for seed in seeds])
    assert len({speech.codes.tobytes() for speech in spoken}) == len(seeds)
    assert [speech.seed for speech in spoken] == list(seeds)
    assert np.array_equal(spoken[0].codes, alone[0].codes)
    first_codes = {tuple(speech.codes[0]) for speech in spoken}
    assert len(first_codes) == len(seeds)


def test_a_seed_that_is_not_given_is_drawn_and_told_and_gives_the_same_again(
    engine: QwenEngine, utterances: list[SpeechRequest], ties: Ties
) -> None:
    unseeded = [replace(utterances[0], seed=None)] * 3
    speeches = engine.synthesize(unseeded)
    assert len({speech.seed for speech in speeches}) == 3
    assert len({speech.codes.tobytes() for speech in speeches}) == 3
    for speech in speeches:
        [again] = engine.synthesize([replace(utterances[0], seed=speech.seed)])
        ties.same(again, speech.codes, f"seed {speech.seed}")
        assert again.seed == speech.seed


def test_the_narrowest_sampling_is_greedy_in_the_midst_of_wide_ones(
    engine: QwenEngine, utterances: list[SpeechRequest], ties: Ties
) -> None:
    base = replace(utterances[1], sampling=GREEDY)
    [greedy] = engine.synthesize([base])
    narrow = (
        Sampling(top_k=1, predictor_top_k=1),
        Sampling(top_p=1e-6, predictor_top_p=1e-6),
        Sampling(temperature=0, predictor_temperature=0),
        Sampling(top_k=0, top_p=1e-6, predictor_top_k=1),
    )
    some = [u for n, s in enumerate(narrow) for u in (replace(base, sampling=s, seed=n), utterances[1])]
    for n, speech in enumerate(engine.synthesize(some)):
        if n % 2 == 0:
            ties.same(speech, greedy.codes, f"{narrow[n // 2]}")
        else:
            assert not np.array_equal(speech.codes, greedy.codes)


def test_greedy_in_the_talker_alone_draws_the_predictors_codes(
    engine: QwenEngine, utterances: list[SpeechRequest]
) -> None:
    base = replace(utterances[0], sampling=Sampling(temperature=0), max_frames=1)
    greedy, one, other = engine.synthesize([replace(base, sampling=GREEDY), base, replace(base, seed=9)])
    assert greedy.codes[0, 0] == one.codes[0, 0] == other.codes[0, 0]
    assert len({speech.codes.tobytes() for speech in (greedy, one, other)}) == 3


@pytest.mark.parametrize("penalty", [0.5, 1.0, 3.0])
def test_greedy_with_any_penalty_is_upstreams_in_company_of_other_penalties(
    engine: QwenEngine, upstream: Any, utterances: list[SpeechRequest], ties: Ties, penalty: float
) -> None:
    greedy = replace(GREEDY, repetition_penalty=penalty)
    some = [replace(utterances[n], sampling=greedy, max_frames=12) for n in (1, 3)]
    company = [replace(utterances[2], sampling=replace(GREEDY, repetition_penalty=other)) for other in (7.0, 1.1)]
    speeches = engine.synthesize([company[0], some[0], company[1], some[1]])
    for speech, codes in zip((speeches[1], speeches[3]), upstream_codes(upstream, some), strict=True):
        ties.same(speech, codes, f"penalty {penalty}")
