"""What the encoder is given, and starts with and without a prompt in the cache. The encoder here needs no model."""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from tests.recordings import TRANSCRIPT, babble, make_voice, replace_recording, set_digest
from worker.voices.card import Card, load_card
from worker.voices.prompt import Prompt, Reference, fingerprint, prepare, prompt_of
from worker.voices.prompt_cache import PromptCache
from worker.voices.reference import UnusableReference
from worker.voices.registry import Registry

pytest.importorskip("safetensors", reason="prompts are kept with safetensors, which comes with makima-tts[qwen]")

RATE = 24_000
MODEL = "0123456789abcdef"


class Encoder:
    """Gives tensors that follow from the reference, and counts how often it was asked."""

    def __init__(self) -> None:
        self.n_calls = 0

    def __call__(self, reference: Reference) -> Mapping[str, NDArray[Any]]:
        self.n_calls += 1
        loudness = np.abs(reference.audio[: RATE * 3]).reshape(-1, 480).mean(axis=1)
        codes = np.arange(32, dtype=np.int64).reshape(2, 16)
        return {"loudness": loudness, "codes": codes, "peak": np.asarray(loudness.max()), "every other": codes[:, ::2]}


@pytest.fixture
def voice(tmp_path: Path) -> Path:
    return make_voice(tmp_path / "voices")


@pytest.fixture
def cache(tmp_path: Path) -> PromptCache:
    return PromptCache(tmp_path / "cache" / "prompts")


@pytest.fixture(autouse=True)
def logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="worker.voices")


def card_of(voice: Path) -> Card:
    return Registry.load(voice.parent).get(voice.name)


def begin(
    voice: Path, cache: PromptCache | None, encoder: Encoder, model: str = MODEL, dtype: str = "float32"
) -> Prompt:
    return prompt_of(card_of(voice), cache, model, dtype, encoder)


def edit(voice: Path, old: str, new: str) -> None:
    card = voice / "voice.toml"
    card.write_text(card.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")


# What the encoder is given


def test_a_24_khz_mono_recording_is_untouched_and_followed_by_half_a_second_of_silence(voice: Path) -> None:
    replace_recording(voice, babble(6), subtype="FLOAT")
    reference = prepare(card_of(voice))
    assert reference.audio.dtype == np.float32
    np.testing.assert_array_equal(reference.audio[:-12_000], babble(6))
    assert reference.audio[-12_000:].tolist() == [0.0] * 12_000
    assert (reference.sample_rate_hz, reference.transcript, reference.mode) == (RATE, TRANSCRIPT, "icl")


def test_a_stereo_recording_at_44100_hz_is_mixed_and_resampled(voice: Path) -> None:
    time_s = np.arange(6 * 44_100) / 44_100
    tones = np.stack((0.4 * np.sin(2 * np.pi * 440 * time_s), 0.4 * np.sin(2 * np.pi * 1000 * time_s)), axis=1)
    replace_recording(voice, tones, 44_100, "FLOAT")
    audio = prepare(card_of(voice)).audio
    assert audio.size == 6 * RATE + 12_000
    time_s = np.arange(6 * RATE) / RATE
    expected = 0.2 * np.sin(2 * np.pi * 440 * time_s) + 0.2 * np.sin(2 * np.pi * 1000 * time_s)
    inner = slice(2400, -2400)
    assert np.abs(audio[: 6 * RATE] - expected)[inner].max() < 1e-3


def test_an_x_vector_voice_is_encoded_without_its_transcript(voice: Path) -> None:
    edit(voice, "name =", 'mode = "x_vector"\nname =')
    reference = prepare(card_of(voice))
    assert (reference.transcript, reference.mode) == (None, "x_vector")


def test_an_incomplete_voice_is_refused_with_what_its_card_says(voice: Path) -> None:
    replace_recording(voice, babble(1))
    with pytest.raises(UnusableReference, match=r"alice: reference.wav lasts 1.0 s; use 5 to 15 s"):
        prepare(card_of(voice))


def test_a_recording_that_went_bad_since_the_cards_were_read_is_refused(voice: Path) -> None:
    card = card_of(voice)
    assert card.complete
    (voice / "reference.wav").write_text("gone")
    with pytest.raises(UnusableReference, match=r"alice: .*not the recording"):
        prepare(card)
    (voice / "reference.wav").unlink()
    with pytest.raises(UnusableReference, match=r"alice: reference.wav is missing; put"):
        prepare(card)


@pytest.mark.parametrize(
    ("samples", "found"),
    [
        (babble(1), "at least 3"),
        (np.zeros(6 * RATE), "silent"),
        (np.full(6 * RATE, np.nan), "not numbers"),
        (np.full(6 * RATE, np.inf), "not numbers"),
    ],
)
def test_a_card_that_nobody_checked_is_checked_before_it_is_encoded(
    voice: Path, samples: NDArray[np.float32], found: str
) -> None:
    replace_recording(voice, samples, subtype="FLOAT")
    with pytest.raises(UnusableReference, match=found):
        prepare(load_card(voice))


def test_a_text_file_named_wav_and_a_missing_transcript_are_refused(voice: Path) -> None:
    (voice / "reference.wav").write_text("my voice")
    set_digest(voice, hashlib.sha256(b"my voice").hexdigest())
    with pytest.raises(UnusableReference, match="holds text"):
        prepare(load_card(voice))
    edit(voice, f'transcript = "{TRANSCRIPT}"', "")
    with pytest.raises(UnusableReference, match="needs `transcript`"):
        prepare(load_card(voice))


# Fingerprints


def test_a_fingerprint_follows_from_everything_the_tensors_follow_from(voice: Path) -> None:
    reference = prepare(card_of(voice))
    quieter = reference.audio * np.float32(0.99)
    keys = [
        fingerprint(MODEL, "float32", reference),
        fingerprint(MODEL + "0", "float32", reference),
        fingerprint(MODEL, "bfloat16", reference),
        fingerprint(MODEL, "float32", Reference(quieter, RATE, TRANSCRIPT, "icl")),
        fingerprint(MODEL, "float32", Reference(reference.audio, RATE, TRANSCRIPT + "。", "icl")),
        fingerprint(MODEL, "float32", Reference(reference.audio, RATE, None, "icl")),
        fingerprint(MODEL, "float32", Reference(reference.audio, RATE, "", "icl")),
        fingerprint(MODEL, "float32", Reference(reference.audio, RATE, TRANSCRIPT, "x_vector")),
        fingerprint("0123456789abcde", "ffloat32", reference),
    ]
    assert len(set(keys)) == len(keys)
    assert keys[0] == fingerprint(MODEL, "float32", prepare(card_of(voice)))
    assert all(len(bytes.fromhex(key)) == 32 for key in keys)


# Starts


def test_a_second_start_runs_no_encoder_and_has_the_same_tensors(
    voice: Path, cache: PromptCache, caplog: pytest.LogCaptureFixture
) -> None:
    encoder = Encoder()
    first, second = begin(voice, cache, encoder), begin(voice, PromptCache(cache.folder), encoder)
    assert (first.was_cached, second.was_cached, encoder.n_calls) == (False, True, 1)
    assert first.tensors.keys() == second.tensors.keys()
    for name, tensor in first.tensors.items():
        np.testing.assert_array_equal(second.tensors[name], tensor)
        assert (second.tensors[name].dtype, second.tensors[name].shape) == (tensor.dtype, tensor.shape)
    assert "prompt of alice built in" in caplog.text
    assert "prompt of alice read from the cache in" in caplog.text


def test_without_a_cache_every_start_encodes(voice: Path) -> None:
    encoder = Encoder()
    assert [begin(voice, None, encoder).was_cached for _ in range(2)] == [False, False]
    assert encoder.n_calls == 2


def test_whatever_changes_is_encoded_anew_and_the_log_says_that_the_cached_one_is_of_something_else(
    voice: Path, cache: PromptCache, caplog: pytest.LogCaptureFixture
) -> None:
    encoder = Encoder()
    begin(voice, cache, encoder)
    assert "another recording" not in caplog.text
    begin(voice, cache, encoder, dtype="bfloat16")
    begin(voice, cache, encoder, model="fedcba9876543210")
    edit(voice, TRANSCRIPT, TRANSCRIPT + "はい。")
    begin(voice, cache, encoder)
    replace_recording(voice, babble(6))
    begin(voice, cache, encoder)
    assert encoder.n_calls == 5
    assert caplog.text.count("cached prompt of alice is of another recording, transcript, model or dtype") == 4


def test_voices_of_the_same_recording_have_files_of_their_own(voice: Path, cache: PromptCache) -> None:
    encoder = Encoder()
    other = make_voice(voice.parent, "alice-b")
    assert not begin(voice, cache, encoder).was_cached
    assert not begin(other, cache, encoder).was_cached
    assert len(list(cache.folder.iterdir())) == 2


def test_an_incomplete_voice_is_refused_though_a_prompt_is_cached(voice: Path, cache: PromptCache) -> None:
    begin(voice, cache, Encoder())
    (voice / "reference.wav").unlink()
    with pytest.raises(UnusableReference, match="missing"):
        begin(voice, cache, Encoder())


def test_a_damaged_file_is_built_again_and_written_over(
    voice: Path, cache: PromptCache, caplog: pytest.LogCaptureFixture
) -> None:
    encoder = Encoder()
    begin(voice, cache, encoder)
    (file,) = cache.folder.iterdir()
    file.write_bytes(file.read_bytes()[:-3] + b"???")
    assert not begin(voice, cache, encoder).was_cached
    assert f"{file} is damaged (its checksum differs); the prompt is built again" in caplog.text
    assert begin(voice, cache, encoder).was_cached
    assert encoder.n_calls == 2


# Folders


def test_a_folder_that_cannot_be_written_costs_a_warning_and_nothing_else(
    voice: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "occupied").write_text("a file where the folder should be")
    for folder in (tmp_path / "occupied", tmp_path / "occupied" / "below"):
        caplog.clear()
        assert not begin(voice, PromptCache(folder), Encoder()).was_cached
        warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert any(str(folder) in warning and "cannot be written" in warning for warning in warnings)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_read_and_not_written(voice: Path, cache: PromptCache) -> None:
    begin(voice, cache, Encoder())
    cache.folder.chmod(0o500)
    try:
        assert begin(voice, cache, Encoder()).was_cached
        assert not begin(voice, cache, Encoder(), dtype="float64").was_cached
    finally:
        cache.folder.chmod(0o700)


def test_preparing_a_voice_loads_neither_torch_nor_safetensors() -> None:
    script = (
        "import sys; from worker.voices.prompt import prepare; from worker.voices.registry import Registry; from "
        "pathlib import Path; prepare(Registry.load(Path('voices')).get('placeholder')); "
        "sys.exit(bool({'torch', 'safetensors', 'qwen_tts'} & set(sys.modules)))"
    )
    repository = Path(__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", script], check=False, cwd=repository).returncode == 0


def test_the_placeholder_is_prepared_as_its_recording_and_half_a_second() -> None:
    card = Registry.load(Path(__file__).parents[1] / "voices").get("placeholder")
    assert card.reference_path is not None
    assert prepare(card).audio.size == soundfile.info(card.reference_path).frames + 12_000
