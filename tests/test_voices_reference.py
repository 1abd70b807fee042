"""What is found out about a reference recording: refused, warned of, or ready. All with real files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from tests.recordings import CARD, TRANSCRIPT, babble, make_voice, problem, record, replace_recording, set_digest
from worker.voices.card import Card
from worker.voices.registry import Registry

RATE = 24_000


@pytest.fixture
def voice(tmp_path: Path) -> Path:
    return make_voice(tmp_path)


def card_with(voice: Path, samples: NDArray[np.float32], rate: int = RATE, subtype: str = "PCM_16") -> Card:
    replace_recording(voice, samples, rate, subtype)
    return Registry.load(voice.parent).get(voice.name)


def problem_with(voice: Path, samples: NDArray[np.float32], rate: int = RATE, subtype: str = "PCM_16") -> str:
    found = card_with(voice, samples, rate, subtype).reference_problem
    assert found is not None
    return found


def warning_with(voice: Path, samples: NDArray[np.float32], rate: int = RATE, subtype: str = "PCM_16") -> str:
    card = card_with(voice, samples, rate, subtype)
    assert card.complete
    assert len(card.reference_warnings) == 1
    return card.reference_warnings[0]


def set_transcript(voice: Path, transcript: str) -> None:
    card = voice / "voice.toml"
    card.write_text(card.read_text(encoding="utf-8").replace(TRANSCRIPT, transcript), encoding="utf-8")


def silence(seconds: float, rate: int = RATE) -> NDArray[np.float32]:
    return np.zeros(int(seconds * rate), dtype=np.float32)


# Whether there is one


def test_a_voice_with_its_recording_is_ready(tmp_path: Path) -> None:
    make_voice(tmp_path)
    card = Registry.load(tmp_path).get("alice")
    assert (card.status, card.complete, card.reference_problem, card.reference_warnings) == (
        "ready",
        True,
        None,
        (),
    )


def test_a_missing_recording_makes_a_voice_incomplete_and_not_unknown(tmp_path: Path) -> None:
    (make_voice(tmp_path) / "reference.wav").unlink()
    assert "reference.wav is missing" in problem(tmp_path)
    card = Registry.load(tmp_path).get("alice")
    assert (card.status, card.complete) == ("incomplete", False)


def test_a_card_that_names_no_recording_is_incomplete(tmp_path: Path) -> None:
    card = make_voice(tmp_path) / "voice.toml"
    text = card.read_text(encoding="utf-8")
    card.write_text(text.replace('reference = "reference.wav"', ""), encoding="utf-8")
    assert "name it in `reference`" in problem(tmp_path)
    assert Registry.load(tmp_path).get("alice").reference_path is None


def test_another_recording_than_the_cards_is_incomplete_and_the_digest_is_given(tmp_path: Path) -> None:
    digest = record(make_voice(tmp_path) / "reference.wav", seconds=7)
    assert f'reference_sha256 = "{digest}"' in problem(tmp_path)
    set_digest(tmp_path / "alice", digest.upper())
    assert Registry.load(tmp_path).get("alice").complete


def test_a_card_without_a_digest_is_incomplete_and_gets_the_line_to_add(tmp_path: Path) -> None:
    voice = make_voice(tmp_path)
    (voice / "voice.toml").write_text(CARD.format(name="alice"), encoding="utf-8")
    assert f'add reference_sha256 = "{record(voice / "reference.wav")}"' in problem(tmp_path)


def test_icl_needs_a_transcript_and_x_vector_does_not(tmp_path: Path) -> None:
    card = make_voice(tmp_path) / "voice.toml"
    text = card.read_text(encoding="utf-8").replace(f'transcript = "{TRANSCRIPT}"', "")
    card.write_text(text, encoding="utf-8")
    assert "needs `transcript`" in problem(tmp_path)
    card.write_text('mode = "x_vector"\n' + text, encoding="utf-8")
    assert Registry.load(tmp_path).get("alice").complete


@pytest.mark.parametrize(
    ("seconds", "peak", "found"),
    [(2.9, 0.5, "2.9 s"), (61, 0.5, "61.0 s"), (6, 0.001, "-60 dBFS"), (6, 0.00003, "silent"), (0, 0.5, "0.0 s")],
)
def test_a_recording_too_short_too_long_or_silent_is_incomplete(
    tmp_path: Path, seconds: float, peak: float, found: str
) -> None:
    voice = make_voice(tmp_path)
    set_digest(voice, record(voice / "reference.wav", seconds, 16000, peak))
    assert found in problem(tmp_path)


def test_what_is_no_recording_is_incomplete(tmp_path: Path) -> None:
    voice = make_voice(tmp_path)
    (voice / "reference.wav").write_bytes(b"not a recording")
    set_digest(voice, hashlib.sha256(b"not a recording").hexdigest())
    assert "cannot be decoded" in problem(tmp_path)


def test_an_enormous_recording_is_not_read(tmp_path: Path) -> None:
    with (make_voice(tmp_path) / "reference.wav").open("r+b") as file:
        file.truncate(65 << 20)
    assert "larger than 64 MiB" in problem(tmp_path)


def test_a_recording_that_cannot_be_read_is_incomplete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    make_voice(tmp_path)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert "Permission denied" in problem(tmp_path)


def test_a_recording_of_one_second_is_refused_with_how_long_it_should_be(voice: Path) -> None:
    assert problem_with(voice, babble(1)) == "reference.wav lasts 1.0 s; use 5 to 15 s (at least 3)"


def test_a_recording_cut_short_after_its_header_is_judged_by_what_is_there(voice: Path) -> None:
    replace_recording(voice, babble(6))
    data = (voice / "reference.wav").read_bytes()[:50_000]
    (voice / "reference.wav").write_bytes(data)
    set_digest(voice, hashlib.sha256(data).hexdigest())
    assert "lasts 1.0 s" in problem(voice.parent)


# What is in it


@pytest.mark.parametrize(
    "text", ["This is what I say.\n", "これは、声のかわりの文章。" * 500, "version 1\noid sha256:0\n"]
)
def test_a_text_file_named_wav_is_refused_as_text(voice: Path, text: str) -> None:
    (voice / "reference.wav").write_text(text, encoding="utf-8")
    set_digest(voice, hashlib.sha256(text.encode()).hexdigest())
    assert "holds text and cannot be decoded" in problem(voice.parent)
    assert "save it as 24 kHz mono 16-bit WAV" in problem(voice.parent)


@pytest.mark.parametrize("data", [b"", b"RIFF\0\0\0\0WAVE", b"\0\xff" * 500])
def test_bytes_that_are_no_recording_are_refused(voice: Path, data: bytes) -> None:
    (voice / "reference.wav").write_bytes(data)
    set_digest(voice, hashlib.sha256(data).hexdigest())
    assert "cannot be decoded" in problem(voice.parent)
    assert "object at" not in problem(voice.parent)


@pytest.mark.parametrize("samples", [silence(6), silence(6) + 0.3])
def test_a_silent_recording_is_refused_whatever_its_offset(voice: Path, samples: NDArray[np.float32]) -> None:
    assert problem_with(voice, samples) == "reference.wav is silent; record it again"


def test_two_channels_that_cancel_each_other_are_refused_as_silent_once_mixed(voice: Path) -> None:
    sound = babble()
    assert "silent once its channels are mixed" in problem_with(voice, np.stack((sound, -sound), axis=1))


def test_a_click_in_silence_is_no_speech(voice: Path) -> None:
    samples = silence(6)
    samples[50_000:50_100] = 0.9 * (-1) ** np.arange(100)
    assert "only 0.0 s of sound" in problem_with(voice, samples)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_are_refused(voice: Path, bad: float) -> None:
    samples = np.stack((babble(), babble()), axis=1)
    samples[70_000, 1] = bad
    assert "not numbers" in problem_with(voice, samples, subtype="FLOAT")


def test_float_samples_that_were_not_scaled_are_refused(voice: Path) -> None:
    assert "samples of 16000 where full scale is 1" in problem_with(voice, babble(peak=16000), subtype="FLOAT")


@pytest.mark.parametrize("rate", [1, 4000, 1_000_000])
def test_a_rate_that_no_speech_is_recorded_at_is_refused(voice: Path, rate: int) -> None:
    assert f"rate of {rate} Hz" in problem_with(voice, babble(), rate)


# What would make it better


@pytest.mark.parametrize("rate", [16_000, 22_050, 24_000, 44_100, 48_000])
def test_a_clean_recording_at_a_usual_rate_has_no_warning(voice: Path, rate: int) -> None:
    assert card_with(voice, babble(rate=rate), rate).reference_warnings == ()


def test_a_stereo_recording_at_44100_hz_is_ready_and_told_that_it_is_mixed(voice: Path) -> None:
    samples = np.stack((babble(rate=44_100), 0.5 * babble(rate=44_100)), axis=1)
    assert "2 channels, which will be mixed" in warning_with(voice, samples, 44_100)


def test_a_recording_shorter_or_longer_than_recommended_is_told_so(voice: Path) -> None:
    assert "lasts 4.0 s" in warning_with(voice, babble(4))
    set_transcript(voice, TRANSCRIPT * 4)
    assert "lasts 20.0 s" in warning_with(voice, babble(20))


def test_a_low_rate_is_told(voice: Path) -> None:
    assert "rate is 8000 Hz" in warning_with(voice, babble(rate=8000), 8000)


def test_samples_held_at_full_scale_are_told_as_clipping_in_whatever_channel(voice: Path) -> None:
    loud = np.clip(babble(peak=1.5), -1, 1)
    assert "clipped" in warning_with(voice, loud)
    assert "clipped" in warning_with(voice, np.clip(babble(peak=1.5), -1, 1), subtype="FLOAT")
    warnings = card_with(voice, np.stack((0.1 * loud, loud), axis=1)).reference_warnings
    assert any("clipped" in warning for warning in warnings)


def test_a_recording_levelled_to_full_scale_is_not_clipped(voice: Path) -> None:
    assert card_with(voice, babble(peak=1.0)).reference_warnings == ()


def test_a_recording_that_is_mostly_silence_is_told_how_much(voice: Path) -> None:
    hiss = np.random.default_rng(3).normal(0, 0.0005, 8 * RATE).astype(np.float32)
    hiss[2 * RATE : 4 * RATE] += babble(2)
    set_transcript(voice, "これはためしに読んだ文です。")
    assert "% of the recording is silence" in warning_with(voice, hiss)


def test_pauses_between_sentences_are_no_silence_to_be_told(voice: Path) -> None:
    samples = np.concatenate((silence(0.3), babble(3), silence(1), babble(3), silence(0.3)))
    assert card_with(voice, samples).reference_warnings == ()


@pytest.mark.parametrize(
    ("transcript", "seconds", "found"),
    [
        ("はい。", 6, "too short"),
        ("Yes.", 6, "too short"),
        (TRANSCRIPT * 10, 6, "too long"),
        ("There is far more written down here than anybody could say in five seconds. " * 3, 5, "too long"),
    ],
)
def test_a_transcript_that_cannot_be_the_recordings_is_told(
    voice: Path, transcript: str, seconds: float, found: str
) -> None:
    set_transcript(voice, transcript)
    assert f"transcript is {found}" in warning_with(voice, babble(seconds))


@pytest.mark.parametrize(
    ("transcript", "quick_s", "slow_s"),
    [
        ("こんにちは。私は、マキマの、仮の声です。", 3.0, 4.3),
        ("東京都の国際交流委員会は、来年三月までに新しい案内板を設置します。", 4.5, 9),
        ("The quick brown fox jumps over the lazy dog, and then it sleeps.", 3.0, 5.4),
        ("I met her in 1994, in Stockholm, at 9 o'clock, with the NHK.", 3.5, 6.5),
        ("今天天气很好，我们一起去公园散步吧，好不好？", 3.0, 5.6),
        ("오늘은 날씨가 좋으니 함께 공원을 걸읍시다.", 3.0, 5.5),
        ("Il fait beau aujourd'hui, allons nous promener ensemble dans le parc.", 3.0, 5.6),
        ("Сегодня хорошая погода, давайте вместе погуляем в парке.", 3.0, 5.0),
    ],
)
def test_a_whole_transcript_has_no_warning_of_a_quick_and_of_a_slow_speaker_but_half_and_twice_it_have(
    voice: Path, transcript: str, quick_s: float, slow_s: float
) -> None:
    set_transcript(voice, transcript)
    for seconds in (quick_s, slow_s):
        assert not [one for one in card_with(voice, babble(seconds)).reference_warnings if "transcript" in one]
    usual_s = (quick_s * slow_s) ** 0.5
    assert "too short" in " ".join(card_with(voice, babble(usual_s * 2)).reference_warnings)
    card = voice / "voice.toml"
    card.write_text(card.read_text(encoding="utf-8").replace(transcript, transcript * 2), encoding="utf-8")
    assert "too long" in " ".join(card_with(voice, babble(quick_s)).reference_warnings)


@pytest.mark.parametrize(
    ("transcript", "found"),
    [
        (f"[笑] {TRANSCRIPT}", "'[笑]'"),
        (f"（ため息）{TRANSCRIPT}", "'（ため息）'"),
        (f"[00:01] {TRANSCRIPT}", "'[00:01]'"),
        (f"00:00:01,000 --> 00:00:05,000 {TRANSCRIPT}", "'00:00:01'"),
        (f"♪ {TRANSCRIPT} ♪", "'♪'"),
        (f"Speaker 1: {TRANSCRIPT}", "'Speaker 1:'"),
        ("Kore wa tameshi ni yonda, sukoshi nagai bun desu. Ma no torikata mo tashikamemasu.", "Latin letters"),
    ],
)
def test_a_transcript_with_what_nobody_hears_is_told(voice: Path, transcript: str, found: str) -> None:
    set_transcript(voice, transcript)
    assert found in warning_with(voice, babble(6.5))


@pytest.mark.parametrize(
    "transcript", ["The train leaves at 10:45 from platform 9.", "We met again at the café by the sea: it was closed."]
)
def test_a_time_and_a_colon_in_a_sentence_are_words(voice: Path, transcript: str) -> None:
    set_transcript(voice, transcript)
    assert card_with(voice, babble(3.5)).reference_warnings == (
        "the recording lasts 3.5 s; 5 to 15 s give the best likeness",
    )


def test_an_x_vector_voices_transcript_is_not_judged(voice: Path) -> None:
    set_transcript(voice, "はい。")
    card = voice / "voice.toml"
    card.write_text('mode = "x_vector"\n' + card.read_text(encoding="utf-8"), encoding="utf-8")
    assert card_with(voice, babble()).reference_warnings == ()


@pytest.mark.parametrize(("container", "subtype"), [("FLAC", "PCM_24"), ("OGG", "VORBIS")])
def test_a_recording_is_known_by_its_contents_not_by_its_name(voice: Path, container: str, subtype: str) -> None:
    file = voice / "reference.wav"
    soundfile.write(file, babble(), RATE, format=container, subtype=subtype)
    set_digest(voice, hashlib.sha256(file.read_bytes()).hexdigest())
    assert Registry.load(voice.parent).get("alice").reference_warnings == ()
