"""What the judges find in a reference recording is a warning with its remedy, never a refusal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.quality.fakes import FakeCleanness, Pcm, fake_judges, vowels
from tests.recordings import make_voice
from tests.shell import Run
from worker.quality import installed
from worker.quality.judges import Judges
from worker.quality.mos import Cleanness
from worker.quality.recording import recording_warnings
from worker.voices.card import Card, load_card
from worker.voices.recording import Recording, Sound

TRANSCRIPT = "The kettle is on the stove."


@pytest.fixture
def card(tmp_path: Path) -> Card:
    languages = {"transcript": TRANSCRIPT, "languages": ("English",)}
    return load_card(make_voice(tmp_path)).model_copy(update=languages)


def recording(audio: Pcm) -> Recording:
    sound = Sound(audio.size / 24_000, 0, audio.size / 24_000, 0)
    return Recording(audio, 24_000, 1, is_clipped=False, peak=0.5, offset=0, agreement=1, sound=sound)


def found(card: Card, words: str, audio: Pcm | None = None) -> list[str]:
    audio = vowels(6) if audio is None else audio
    return list(recording_warnings(fake_judges(lambda n: words), card, recording(audio)))


@pytest.mark.parametrize("words", ["the kettle is on the stove", "The kettle is on a stove!"])
def test_a_recording_that_has_its_transcripts_words_has_no_warning(card: Card, words: str) -> None:
    assert found(card, words) == []


@pytest.mark.parametrize("words", ["", "the kettle is", f"{TRANSCRIPT} {TRANSCRIPT}", "somebody reads another text"])
def test_other_missing_and_more_words_are_a_warning_with_what_was_recognised(card: Card, words: str) -> None:
    (warning,) = found(card, words)
    assert repr(words) in warning


def test_a_voice_without_a_transcript_is_not_asked_for_words(card: Card) -> None:
    assert found(card.model_copy(update={"mode": "x_vector", "transcript": None}), "anything") == []


def test_the_cards_language_that_fits_counts(card: Card) -> None:
    both = card.model_copy(update={"languages": ("German", "English")})
    words = ["Das ist etwas ganz anderes", TRANSCRIPT]
    assert list(recording_warnings(fake_judges(lambda n: words[n]), both, recording(vowels(6)))) == []


def test_parts_unlike_each_other_are_more_than_one_voice(card: Card) -> None:
    changing = np.concatenate([vowels(4, peak=0.01), 3 * vowels(2)])
    (warning,) = found(card, TRANSCRIPT, changing.astype(np.float32))
    assert "more than one voice" in warning


def test_a_noisy_background_is_a_warning(card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeCleanness, "score", lambda self, pcm: Cleanness(3.0, 1.5, 2.0))
    (warning,) = found(card, TRANSCRIPT)
    assert "background" in warning


def test_the_check_passes_a_voice_that_the_judges_warn_of(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_voice(tmp_path / "mine", "fine")
    monkeypatch.setattr(Judges, "load", lambda: fake_judges(lambda n: "something else"))
    done = run("voices", "check", "--judge", "--voices-dir", "mine")
    assert done.returncode == 0
    assert b"fine: ready\nfine: warning: " in done.stdout
    assert b"something else" in done.stdout


def test_without_the_judges_the_check_is_as_before_and_asking_for_them_names_the_remedy(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_voice(tmp_path / "mine", "fine")
    monkeypatch.setattr(installed, "package_version", lambda name: None)
    done = run("voices", "check", "--voices-dir", "mine")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"fine: ready\n", b"")
    asked = run("voices", "check", "--judge", "--voices-dir", "mine")
    assert asked.returncode == 1
    assert b"makima-tts[quality]" in asked.stderr
