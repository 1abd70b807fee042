"""A rehearsal speaks as a worker does, and resumes as after a take-over."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from schemas.errors import MakimaError
from tests.conftest import REPOSITORY
from tests.tone import ToneEngine
from worker.bench.quality_peers import take_over
from worker.engine.base import Frames, VoiceUnavailable
from worker.engine.preview.engine import PreviewEngine
from worker.rehearsal import Rehearsal
from worker.voices.card import Card
from worker.voices.registry import Registry

TEXT = "Good morning, how can I help you today? The kettle is on the stove, and the cups are in the left cupboard."


@pytest.fixture
def card() -> Card:
    return Registry.load(REPOSITORY / "voices").get("placeholder")


async def test_an_utterance_has_its_samples_seams_and_texts(card: Card) -> None:
    async with Rehearsal(PreviewEngine(1), [card]) as rehearsal:
        spoken = await rehearsal.speak(TEXT, "English", card)
    assert len(spoken.texts) == len(spoken.seams) + 1 > 1
    assert list(spoken.seams) == sorted(set(spoken.seams))
    assert 0 < spoken.seams[0] < spoken.seams[-1] < spoken.pcm.size or len(spoken.seams) == 1
    assert sum(len(data) for _, data in spoken.chunks) == spoken.pcm.nbytes
    assert (spoken.finish, spoken.took_s > 0) == ("stop", True)


async def test_speech_resumed_after_any_chunk_is_the_same_to_the_sample(card: Card) -> None:
    async with Rehearsal(PreviewEngine(1), [card]) as rehearsal:
        whole = await rehearsal.speak(TEXT, "English", card)
        for n in range(1, len(whole.chunks), 7):
            resumed = await rehearsal.speak(TEXT, "English", card, after=replace(whole, chunks=whole.chunks[:n]))
            assert np.array_equal(resumed.pcm, whole.pcm)


class _Forgetful(ToneEngine):
    """Speaks every segment a little louder than the one before."""

    gain = 1.0

    def open(self, segment: object) -> int:
        self.gain *= 0.9
        return super().open(segment)  # type: ignore[arg-type]

    def step(self, paused: object = (), /) -> list[Frames]:
        return [replace(one, pcm=(one.pcm * self.gain).astype(np.float32)) for one in super().step(paused)]  # type: ignore[arg-type]


async def test_an_engine_that_does_not_repeat_itself_is_found_out(card: Card) -> None:
    async with Rehearsal(_Forgetful(1), [card]) as rehearsal:
        found = await take_over(rehearsal, TEXT, "English", card)
    assert found is not None
    assert any(at is not None for at in found.different_at)


async def test_a_voice_that_cannot_be_spoken_and_a_text_without_words_are_errors(card: Card) -> None:
    async with Rehearsal(PreviewEngine(1), [card]) as rehearsal:
        with pytest.raises(MakimaError):
            await rehearsal.speak("", "English", card)
    silent = card.model_copy(update={"reference": "missing.wav"})
    engine = PreviewEngine(1)
    engine.check = _refuse  # type: ignore[method-assign]
    async with Rehearsal(engine, [silent]) as rehearsal:
        with pytest.raises(VoiceUnavailable):
            await rehearsal.speak(TEXT, "English", silent)


def _refuse(voice: Card) -> None:
    raise VoiceUnavailable("the voice has no recording", "add one")
