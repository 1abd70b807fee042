"""The worker's Qwen engine with a streaming voice: complete segments, and ones whose text is still being written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import inf
from pathlib import Path

import numpy as np
import pytest

from tests.qwen.speakers import PLACEHOLDER, Spoken, resumed, segment, speak
from worker.engine.base import EngineError, Finish, Segment
from worker.engine.qwen.adapter import QwenSpeaker
from worker.engine.qwen.engine import QwenEngine
from worker.engine.qwen.sampler import Sampling
from worker.engine.qwen.speech import SpeechRequest

TEXT = "One token of text with each frame."
STREAMING = PLACEHOLDER.model_copy(update={"text": "streaming", "mode": "x_vector"})
COMPLETE = segment(TEXT, seed=9, max_frames=20, voice=STREAMING)


@pytest.fixture(scope="module")
def engine(tiny: Path) -> QwenEngine:
    return QwenEngine.load(str(tiny), device="cpu", dtype="float64", slots=2, warm=False)


@pytest.fixture
def speaker(engine: QwenEngine) -> Iterator[QwenSpeaker]:
    made = QwenSpeaker(engine, None)
    yield made
    made.close()


@pytest.fixture(scope="module")
def whole(engine: QwenEngine) -> Spoken:
    return speak(QwenSpeaker(engine, None), COMPLETE)[0]


def opened(text: str) -> Segment:
    return replace(COMPLETE, text=text, is_open=True)


def step_dry(speaker: QwenSpeaker, into: Spoken) -> None:
    while speaker.wait_s() == 0:
        into.parts += speaker.step()


def test_a_complete_segment_of_a_streaming_voice_is_read_a_token_a_frame(
    engine: QwenEngine, speaker: QwenSpeaker, whole: Spoken
) -> None:
    sampling = Sampling(temperature=0.9, top_k=50, top_p=1.0, repetition_penalty=1.05)
    request = SpeechRequest(TEXT, speaker._voices.get(STREAMING), "English", sampling, 9, 20, whole_text=False)
    assert np.array_equal(whole.codes, engine.synthesize([request])[0].codes)
    assert whole.finish is Finish.LENGTH


def test_a_segment_whose_text_comes_late_and_in_pieces_is_the_same(speaker: QwenSpeaker, whole: Spoken) -> None:
    assert speaker.takes_open_text
    spoken, slot = Spoken(), speaker.open(opened(""))
    for n in range(0, len(TEXT), 5):
        step_dry(speaker, spoken)
        assert speaker.wait_s() == inf
        for _ in range(100):  # the time for which a row is held is none that the model spends in silence
            assert speaker.step() == []
        speaker.extend(slot, TEXT[n : n + 5], False, 20)
    assert not any(part.ended for part in spoken.parts)
    speaker.extend(slot, "", True, 20)
    speaker.extend(slot, "", True, 20)
    step_dry(speaker, spoken)
    np.testing.assert_array_equal(spoken.heard, whole.heard)
    assert spoken.finish is Finish.LENGTH
    speaker.extend(slot, "The slot is free.", False, 20)


def test_a_segment_resumed_while_its_text_is_open_goes_on_with_the_very_next_sample(
    speaker: QwenSpeaker, whole: Spoken
) -> None:
    for n_frames, n_chars in ((1, 10), (8, 22), (8, 0)):
        spoken, slot = Spoken(), speaker.open(resumed(opened(TEXT[:n_chars]), whole, n_frames))
        step_dry(speaker, spoken)
        speaker.extend(slot, TEXT[n_chars:], True, 20)
        step_dry(speaker, spoken)
        np.testing.assert_array_equal(spoken.heard, whole.heard)


def test_text_without_words_ends_its_segment_alone(speaker: QwenSpeaker, whole: Spoken) -> None:
    slot, spoken = speaker.open(opened(" ")), Spoken()
    neighbour = speaker.open(COMPLETE)
    spoken.parts += speaker.step()
    with pytest.raises(EngineError, match="special tokens and blanks"):
        speaker.extend(slot, "<|im_end|>", True, 20)
    assert speaker.open(COMPLETE) == slot
    while speaker.wait_s() == 0:
        spoken.parts += [frames for frames in speaker.step() if frames.slot == neighbour]
    np.testing.assert_array_equal(spoken.heard, whole.heard)
