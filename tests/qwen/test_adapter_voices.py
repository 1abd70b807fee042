"""Voices of the Qwen engine: good and bad recordings, cached prompts, reloaded cards."""

from __future__ import annotations

import hashlib
import logging
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.qwen.speakers import Spoken, segment, speak
from tests.recordings import babble, make_voice, replace_recording, set_digest
from worker.engine.base import VoiceUnavailable
from worker.engine.qwen.adapter import QwenSpeaker
from worker.engine.qwen.engine import QwenEngine
from worker.engine.qwen.loader import Model
from worker.voices.card import Card
from worker.voices.prompt_cache import PromptCache
from worker.voices.registry import Registry


@pytest.fixture(scope="module")
def engine(tiny: Path) -> QwenEngine:
    return QwenEngine.load(str(tiny), device="cpu", dtype="float64", slots=2)


@pytest.fixture
def voices(tmp_path: Path) -> Path:
    """A folder with one voice, alice."""
    replace_recording(make_voice(tmp_path / "voices"), babble(4.0))
    return tmp_path / "voices"


@pytest.fixture
def cache(tmp_path: Path) -> PromptCache:
    return PromptCache(tmp_path / "cache")


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The lengths in seconds of what the encoders were given, as they go on encoding."""
    lengths: list[float] = []
    encode = Model.encode_reference

    def watched(model: Model, audio: Any, rate_hz: int, *rest: Any) -> Any:
        lengths.append(len(audio) / rate_hz)
        return encode(model, audio, rate_hz, *rest)

    monkeypatch.setattr(Model, "encode_reference", watched)
    return lengths


def card_of(voices: Path, name: str = "alice") -> Card:
    return Registry.load(voices).get(name)


def said_by(engine: QwenEngine, cache: PromptCache | None, card: Card) -> Spoken:
    """A start of the engine that speaks one segment."""
    [spoken] = speak(QwenSpeaker(engine, cache), segment(voice=card, max_frames=6))
    return spoken


def test_a_second_start_takes_the_prompt_from_the_cache_and_says_the_same(
    engine: QwenEngine, voices: Path, cache: PromptCache, encoded: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    first = said_by(engine, cache, card_of(voices))
    assert encoded == [pytest.approx(4.5)], "half a second of silence follows the recording"
    assert "prompt of alice built" in caplog.text
    second = said_by(engine, cache, card_of(voices))
    assert len(encoded) == 1
    assert "prompt of alice read from the cache" in caplog.text
    np.testing.assert_array_equal(second.pcm, first.pcm)
    assert (said_by(engine, None, card_of(voices)).pcm == first.pcm).all()


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_a_cached_prompt_is_exact_in_every_number_format(
    dtype: str, tiny: Path, voices: Path, cache: PromptCache, encoded: list[float]
) -> None:
    small = QwenEngine.load(str(tiny), device="cpu", dtype=dtype, slots=1)
    made, kept = (QwenSpeaker(small, cache)._voices.get(card_of(voices)) for _ in range(2))
    assert len(encoded) == 1
    assert (kept.speaker == made.speaker).all()
    assert kept.codes is not None
    assert made.codes is not None
    assert (kept.codes == made.codes).all()
    assert kept.state.keys() == made.state.keys()
    for name, part in made.state.items():
        assert kept.state[name].dtype == part.dtype
        assert (kept.state[name] == part).all()


def test_a_damaged_prompt_is_built_again_with_a_warning_and_kept(
    engine: QwenEngine, voices: Path, cache: PromptCache, encoded: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    first = said_by(engine, cache, card_of(voices))
    [file] = cache.folder.iterdir()
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    second = said_by(engine, cache, card_of(voices))
    [warning] = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert f"{file} is damaged" in warning
    assert "built again" in warning
    assert len(encoded) == 2
    np.testing.assert_array_equal(second.pcm, first.pcm)
    said_by(engine, cache, card_of(voices))
    assert len(encoded) == 2


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("1 s", r"alice: reference\.wav lasts 1\.0 s; use 5 to 15 s"),
        ("silent", r"alice: reference\.wav is silent; record it again"),
        ("text", r"alice: reference\.wav holds text and cannot be decoded as a recording; save it as 24 kHz mono"),
        ("missing", r"alice: reference\.wav is missing; put 5 to 15 s of clean speech there"),
    ],
)
def test_a_bad_recording_is_refused_with_what_to_do(
    what: str, says: str, engine: QwenEngine, voices: Path, encoded: list[float]
) -> None:
    spoil(voices / "alice", what)
    speaker, card = QwenSpeaker(engine, None), card_of(voices)
    for refuses in (lambda: speaker.check(card), lambda: speaker.open(segment(voice=card))):
        with pytest.raises(VoiceUnavailable, match=says):
            refuses()
    assert encoded == []


def spoil(voice: Path, what: str) -> None:
    if what == "1 s":
        replace_recording(voice, babble(1.0))
    elif what == "silent":
        replace_recording(voice, np.zeros(6 * 24_000, np.float32))
    elif what == "text":
        (voice / "reference.wav").write_text("This is no recording. " * 200, "utf-8")
        set_digest(voice, hashlib.sha256((voice / "reference.wav").read_bytes()).hexdigest())
    else:
        (voice / "reference.wav").unlink()


def test_a_stereo_recording_at_44100_hz_is_mixed_and_resampled(
    engine: QwenEngine, voices: Path, encoded: list[float]
) -> None:
    sound = babble(4.0, rate=44_100)
    replace_recording(voices / "alice", np.stack([sound, 0.5 * sound], axis=1), 44_100)
    assert len(said_by(engine, None, card_of(voices)).codes) == 6
    assert encoded == [pytest.approx(4.5)]


def test_a_recording_that_the_encoders_refuse_is_the_voices_own_problem(
    engine: QwenEngine, voices: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def breaks(*_: Any) -> Any:
        raise RuntimeError("Kernel size can't be greater than actual input size")

    monkeypatch.setattr(Model, "encode_reference", breaks)
    with pytest.raises(VoiceUnavailable, match=r"alice: .*cannot be encoded \(RuntimeError: Kernel.*; save it"):
        QwenSpeaker(engine, None).check(card_of(voices))
    assert "Traceback" in caplog.text


def test_a_voice_that_is_recorded_anew_is_encoded_anew_while_its_old_card_still_speaks(
    engine: QwenEngine, voices: Path, cache: PromptCache, encoded: list[float]
) -> None:
    speaker, old = QwenSpeaker(engine, cache), card_of(voices)
    [before] = speak(speaker, segment(voice=old, max_frames=6))
    replace_recording(voices / "alice", babble(5.0)[::-1].copy())
    new = card_of(voices)
    by_new, by_old = speak(speaker, segment(voice=new, max_frames=6), segment(voice=old, max_frames=6))
    np.testing.assert_array_equal(by_old.pcm, before.pcm)
    assert (by_new.codes != before.codes).any()
    assert len(encoded) == 2


def test_a_voice_made_on_another_thread_is_the_same_and_changes_nothing_of_what_is_spoken(
    engine: QwenEngine, voices: Path
) -> None:
    speaker, card, n_threads = QwenSpeaker(engine, None), card_of(voices), torch.get_num_threads()
    [alone], made_alone = speak(speaker, segment()), QwenSpeaker(engine, None)._voices.get(card)
    making = threading.Thread(target=speaker.check, args=(card,))
    making.start()
    n_spoken = 0
    while making.is_alive() or not n_spoken:
        [beside] = speak(speaker, segment())
        np.testing.assert_array_equal(beside.codes, alone.codes)
        np.testing.assert_array_equal(beside.pcm, alone.pcm)
        n_spoken += 1
    making.join()
    assert speaker.has_voice(card)
    made = speaker._voices.get(card)
    assert made.codes is not None
    assert made_alone.codes is not None
    assert torch.equal(made.codes, made_alone.codes)
    torch.testing.assert_close(made.speaker, made_alone.speaker)
    for name, part in made_alone.state.items():
        torch.testing.assert_close(made.state[name], part)
    assert torch.get_num_threads() == n_threads


def test_a_card_that_only_says_other_things_needs_no_encoder(
    engine: QwenEngine, voices: Path, cache: PromptCache, encoded: list[float]
) -> None:
    speaker = QwenSpeaker(engine, cache)
    speaker.check(card_of(voices))
    card = voices / "alice" / "voice.toml"
    card.write_text('description = "somebody"\n' + card.read_text("utf-8"), "utf-8")
    shutil.copytree(voices / "alice", voices / "bob")
    bob = voices / "bob" / "voice.toml"
    bob.write_text(bob.read_text("utf-8").replace('name = "alice"', 'name = "bob"'), "utf-8")
    speaker.check(card_of(voices))
    assert len(encoded) == 1
    speaker.check(card_of(voices, "bob"))
    assert len(encoded) == 2, "a voice's prompt is kept under its own name"
