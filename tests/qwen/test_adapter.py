"""The Qwen engine as the worker's: segments in slots, resumption from codes, guards, and steps that fail."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.qwen.speakers import PLACEHOLDER, resumed, segment, speak
from worker.engine.base import EngineClosed, EngineError, Finish, Resume
from worker.engine.qwen import runaway
from worker.engine.qwen.adapter import QwenSpeaker
from worker.engine.qwen.engine import QwenEngine
from worker.engine.qwen.runner import ModelRunner
from worker.engine.qwen.sampler import Sampling
from worker.engine.qwen.speech import SpeechRequest
from worker.voices.prompt_cache import PromptCache

N_SLOTS = 3


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> PromptCache:
    return PromptCache(tmp_path_factory.mktemp("prompts"))


@pytest.fixture(scope="module")
def ending(tiny_ending: Path) -> QwenEngine:
    """float64, so that samples can be compared bit by bit."""
    return QwenEngine.load(str(tiny_ending), device="cpu", dtype="float64", slots=N_SLOTS)


@pytest.fixture(scope="module")
def endless(tiny: Path) -> QwenEngine:
    return QwenEngine.load(str(tiny), device="cpu", dtype="float64", slots=N_SLOTS)


@pytest.fixture
def speaker(endless: QwenEngine, cache: PromptCache) -> Iterator[QwenSpeaker]:
    """Utterances of this one end by their budgets."""
    made = QwenSpeaker(endless, cache)
    yield made
    made.close()


@pytest.fixture
def stopping(ending: QwenEngine, cache: PromptCache) -> Iterator[QwenSpeaker]:
    """Greedy utterances of this one end by themselves, within 60 frames."""
    made = QwenSpeaker(ending, cache)
    yield made
    made.close()


# What is spoken.


def test_a_segment_ends_by_its_budget_or_by_itself(speaker: QwenSpeaker, stopping: QwenSpeaker) -> None:
    [cut_off] = speak(speaker, segment(max_frames=9))
    assert (len(cut_off.codes), cut_off.finish) == (9, Finish.LENGTH)
    [whole] = speak(stopping, replace(segment(max_frames=75), temperature=0.0))
    assert whole.finish is Finish.STOP
    assert 0 < len(whole.codes) < 75


def test_a_segment_is_what_the_library_speaks_of_it(speaker: QwenSpeaker, endless: QwenEngine) -> None:
    [spoken] = speak(speaker, segment(seed=5))
    sampling = Sampling(temperature=0.9, top_k=50, top_p=1.0, repetition_penalty=1.05)
    utterance = SpeechRequest(
        "Hello there.", speaker._voices.get(PLACEHOLDER), "English", sampling, seed=5, max_frames=20
    )
    [speech] = endless.synthesize([utterance])
    np.testing.assert_array_equal(spoken.codes, speech.codes)
    np.testing.assert_array_equal(spoken.pcm, speech.pcm)


def test_the_same_seed_gives_the_same_audio_alone_and_among_neighbours(speaker: QwenSpeaker) -> None:
    [alone] = speak(speaker, segment(seed=7))
    [first, again, other] = speak(speaker, segment("Somebody else.", 3, 31), segment(seed=7), segment(seed=8))
    np.testing.assert_array_equal(again.heard, alone.heard)
    assert (other.codes[:, 0] != alone.codes[:, 0]).any()
    assert len(first.codes) == 31


def test_a_temperature_of_0_is_greedy_whatever_the_seed(speaker: QwenSpeaker, endless: QwenEngine) -> None:
    cold = [replace(segment(seed=seed), temperature=0.0) for seed in (1, 2)]
    one, other = speak(speaker, *cold)
    np.testing.assert_array_equal(one.codes, other.codes)
    greedy = Sampling(greedy=True, top_k=50, repetition_penalty=1.05)
    utterance = SpeechRequest("Hello there.", speaker._voices.get(PLACEHOLDER), "English", greedy, max_frames=20)
    np.testing.assert_array_equal(one.codes, endless.synthesize([utterance])[0].codes)
    [warm] = speak(speaker, segment(seed=1))
    assert (warm.codes != one.codes).any()


def test_a_jobs_temperature_goes_before_the_cards(speaker: QwenSpeaker) -> None:
    cold_card = PLACEHOLDER.model_copy(update={"sampling": PLACEHOLDER.sampling.model_copy(update={"temperature": 0})})
    cold, warm = segment(voice=cold_card), replace(segment(voice=cold_card), temperature=0.9)
    by_card, by_job, usual = speak(speaker, cold, warm, segment())
    np.testing.assert_array_equal(by_job.codes, usual.codes)
    assert (by_card.codes != by_job.codes).any()


def test_segments_are_spoken_together_and_a_held_slot_waits(speaker: QwenSpeaker) -> None:
    first, second = speak(speaker, segment(max_frames=30), segment("Another one.", max_frames=30))
    assert first.steps[0] < second.steps[-1]
    assert second.steps[0] < first.steps[3], "the second begins long before the first one's end"
    [stopped] = speak(speaker, segment(max_frames=30), paused=[0])
    assert stopped.parts == []
    assert speaker.wait_s(paused=[0]) == math.inf
    speaker.cancel(0)


def test_a_budget_that_a_slot_has_no_room_for_is_cut_to_it(tiny: Path) -> None:
    short = QwenEngine.load(str(tiny), device="cpu", slots=1, max_positions=500)  # the prompt takes 443
    digits = segment("7" * 100, max_frames=1900)
    [spoken] = speak(QwenSpeaker(short, None), replace(digits, temperature=0.0))
    assert 0 < len(spoken.codes) < 75
    assert spoken.finish is Finish.LENGTH


# Going on from codes.


@pytest.mark.parametrize("n_frames", [1, 2, 7, 19])
def test_a_resumed_segment_gives_its_frames_again_and_then_the_very_next_sample(
    n_frames: int, speaker: QwenSpeaker
) -> None:
    undisturbed = segment("A sentence that another worker began.", seed=11)
    [whole] = speak(speaker, undisturbed)
    [_, gone_on] = speak(speaker, segment("A neighbour.", max_frames=5), resumed(undisturbed, whole, n_frames))
    np.testing.assert_array_equal(gone_on.codes, whole.codes)
    np.testing.assert_array_equal(gone_on.heard, whole.heard)
    assert gone_on.finish is whole.finish


def test_a_segment_resumed_at_its_end_gives_its_frames_again_and_its_finish(
    speaker: QwenSpeaker, stopping: QwenSpeaker
) -> None:
    budgeted, greedy = segment(max_frames=20), replace(segment(max_frames=75), temperature=0.0)
    for one, undisturbed, finish in ((speaker, budgeted, Finish.LENGTH), (stopping, greedy, Finish.STOP)):
        [whole] = speak(one, undisturbed)
        assert whole.finish is finish
        at_its_end = resumed(undisturbed, whole, len(whole.codes))
        others = [segment("A neighbour.", max_frames=8), segment("And one more.", max_frames=8)]
        *_, again = speak(one, *others, at_its_end)
        np.testing.assert_array_equal(again.heard, whole.heard)
        assert again.finish is finish


def test_more_frames_than_the_budget_now_allows_are_given_again_and_end_the_segment(speaker: QwenSpeaker) -> None:
    """Another version of the worker may have given the text a larger budget."""
    [spoken] = speak(speaker, segment(max_frames=12))
    [again] = speak(speaker, replace(resumed(segment(), spoken, 12), max_frames=5))
    assert np.array_equal(again.codes, spoken.codes)
    assert np.array_equal(again.heard, spoken.heard)
    assert again.finish is Finish.LENGTH


def test_resuming_without_codes_is_refused(speaker: QwenSpeaker) -> None:
    with pytest.raises(EngineError, match="no codes"):
        speaker.open(replace(segment(), resume=Resume(3)))
    assert speaker.wait_s() == math.inf


# Ends.


def test_a_cancelled_segment_says_so_once_and_its_slot_is_free(speaker: QwenSpeaker) -> None:
    slots = [speaker.open(segment(max_frames=40)) for _ in range(N_SLOTS)]
    for _ in range(3):
        speaker.step()
    with pytest.raises(EngineError, match="slots are taken"):
        speaker.open(segment())
    speaker.cancel(slots[1])
    ends = [frames for frames in speaker.step() if frames.ended]
    assert [(frames.slot, frames.finish) for frames in ends] == [(slots[1], Finish.CANCELLED)]
    assert speaker.open(segment()) == slots[1]
    speaker.cancel(slots[1])
    speaker.cancel(slots[1])
    assert [f.finish for f in speaker.step() if f.ended] == [Finish.CANCELLED]


def test_a_model_that_goes_on_without_speaking_is_stopped_and_resumes_to_the_same_end(
    speaker: QwenSpeaker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(runaway, "QUIET_RMS", 2.0)  # all of this random model's frames count as silence
    sentence = segment(max_frames=60)
    [silent, other] = speak(speaker, sentence, segment(max_frames=12))
    assert silent.finish is Finish.RUNAWAY
    assert len(silent.codes) == runaway.MAX_QUIET_FRAMES_AT_START
    assert other.finish is Finish.LENGTH
    assert "ran away" in caplog.text
    [again] = speak(speaker, resumed(sentence, silent, 30))
    np.testing.assert_array_equal(again.heard, silent.heard)
    assert again.finish is Finish.RUNAWAY


def test_a_step_that_fails_loses_its_segments_and_nothing_else(
    speaker: QwenSpeaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    [expected] = speak(speaker, segment())
    for n in range(N_SLOTS):
        speaker.open(segment("This one is lost.", seed=n))
    speaker.step()

    def fails(*_: Any) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with monkeypatch.context() as patch:
        patch.setattr(ModelRunner, "frame", fails)
        with pytest.raises(EngineError, match="illegal memory access"):
            speaker.step()
    assert speaker.wait_s() == math.inf
    [after] = speak(speaker, segment())
    np.testing.assert_array_equal(after.heard, expected.heard)


def test_a_closed_engine_opens_nothing(speaker: QwenSpeaker) -> None:
    speaker.open(segment())
    speaker.close()
    speaker.close()
    assert speaker.wait_s() == math.inf
    with pytest.raises(EngineClosed):
        speaker.open(segment())


# Start.


def test_warming_up_makes_every_prompt_speaks_and_reports_the_memory(
    speaker: QwenSpeaker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    nobody = PLACEHOLDER.model_copy(update={"name": "nobody", "reference_problem": "there is no recording"})
    speaker.warm_up([nobody, PLACEHOLDER])
    assert speaker.wait_s() == math.inf
    assert "nobody is unavailable: nobody: there is no recording" in caplog.text
    assert "tiny is warm after" in caplog.text
    assert f"1 voices, {N_SLOTS} slots" in caplog.text
    assert (speaker.name, speaker.n_slots, speaker.gpu) == ("tiny", N_SLOTS, None)
    assert speaker.memory_bytes > 50e6
