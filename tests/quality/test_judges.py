"""The judges themselves, where they are installed: they work without a network and tell good from bad."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import soxr

from tests.conftest import REPOSITORY
from tests.previewing import segment, speak
from tests.quality.fakes import Pcm
from worker.engine.preview.engine import PreviewEngine
from worker.quality.installed import JUDGES, missing_judges
from worker.quality.judges import Judges, at_judges_rate, versions
from worker.quality.readings import compared_units
from worker.quality.recogniser import RATE_HZ
from worker.quality.recording import recording_warnings
from worker.quality.speaker import similarity
from worker.quality.text import align
from worker.voices.reference import recording_of
from worker.voices.registry import Registry

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(missing_judges() is not None, reason=str(missing_judges())),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]
TEXT = "The kettle is on the stove and the cups are in the left cupboard."


@pytest.fixture(scope="module")
def judges() -> Iterator[Judges]:
    """The judges, loaded and used while every connection and look-up fails."""

    def refuse(*arguments: object) -> None:
        raise AssertionError(f"a judge used the network: {arguments}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        yield Judges.load()


@pytest.fixture(scope="module")
def speech() -> Pcm:
    with closing(PreviewEngine(1)) as engine:
        return at_judges_rate(speak(engine, segment(TEXT)).audio, 24_000)


def noise(seconds: float = 3.0) -> Pcm:
    return np.random.default_rng(1).normal(0, 0.2, int(seconds * RATE_HZ)).astype(np.float32)


def test_words_are_recognised_and_noise_has_none(judges: Judges, speech: Pcm) -> None:
    found = align(
        compared_units(TEXT, "English"), compared_units(judges.recogniser.transcribe(speech, "English"), "English")
    )
    assert found.rate < 0.2
    heard = judges.recogniser.transcribe(noise(), "English")
    assert align(compared_units(TEXT, "English"), compared_units(heard, "English")).rate > 0.8


def test_natural_speech_scores_above_the_same_with_noise(judges: Judges) -> None:
    recording = recording_of(Registry.load(REPOSITORY / "voices").get("placeholder"))
    natural = at_judges_rate(recording.audio, recording.rate_hz)[: 5 * RATE_HZ]
    noisy = natural + noise(5) * 0.3
    assert judges.naturalness.score(natural) > judges.naturalness.score(noisy) + 1
    clean, spoilt = judges.cleanness.score(natural), judges.cleanness.score(noisy)
    assert clean.background > spoilt.background + 1
    assert clean.overall > spoilt.overall + 1


def test_scores_stay_on_their_scale_for_a_moment_of_sound(judges: Judges) -> None:
    moment = noise()[:100]
    scores = judges.cleanness.score(moment)
    assert all(0.5 < score < 5.5 for score in (judges.naturalness.score(moment), scores.speech, scores.overall))


def test_a_voice_is_more_like_itself_than_like_another(judges: Judges, speech: Pcm) -> None:
    half = speech.size // 2
    first, second = (judges.speaker.embedding(part) for part in (speech[:half], speech[half:]))
    lower = judges.speaker.embedding(at_judges_rate(speech, int(RATE_HZ * 1.35)))  # the same, played more slowly
    assert first is not None
    assert second is not None
    assert lower is not None
    assert similarity(first, second) > similarity(first, lower)
    assert similarity(first, first) == pytest.approx(1, abs=1e-5)


def test_a_good_recording_has_no_warning_and_a_wrong_transcript_or_a_second_voice_has_one(
    judges: Judges, speech: Pcm
) -> None:
    card = Registry.load(REPOSITORY / "voices").get("placeholder")
    recording = recording_of(card)
    assert list(recording_warnings(judges, card, recording)) == []
    other = card.model_copy(
        update={"transcript": "明日は傘を持って、駅の前で待っていてください。", "languages": ("Japanese",)}
    )
    louder = soxr.resample(speech, RATE_HZ, recording.rate_hz) * 0.5
    joined = np.concatenate([louder, louder, recording.audio[: 2 * louder.size]])
    words, voices = recording_warnings(judges, other, replace(recording, audio=joined.astype(np.float32)))
    assert "transcript" in words
    assert "more than one voice" in voices


def test_too_little_sound_has_no_speaker_and_no_sound_no_judgement(judges: Judges) -> None:
    assert judges.speaker.embedding(np.zeros(100, np.float32)) is None
    assert judges.judge(np.zeros(0, np.float32), 24_000, "English") is None


def test_the_report_names_every_judges_version() -> None:
    assert all(versions()[name] for name in JUDGES)
