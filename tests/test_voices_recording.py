"""Recordings that are not quite what a recording should be: WAV headers, formats, levels, channels, silence."""

from __future__ import annotations

import hashlib
import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from tests.recordings import babble, make_voice, set_digest
from worker.voices.card import Card
from worker.voices.registry import Registry

RATE = 24_000
Pcm = NDArray[np.float32]
LIST = b"LIST\x1a\0\0\0INFOISFT\x0e\0\0\0Lavf60.16.100\0"


@pytest.fixture
def voice(tmp_path: Path) -> Path:
    return make_voice(tmp_path)


def card_of(voice: Path, data: bytes) -> Card:
    (voice / "reference.wav").write_bytes(data)
    set_digest(voice, hashlib.sha256(data).hexdigest())
    return Registry.load(voice.parent).get(voice.name)


def warnings_of(voice: Path, samples: Pcm, rate: int = RATE) -> str:
    card = card_of(voice, written(samples, rate))
    assert card.complete, card.reference_problem
    return " | ".join(card.reference_warnings)


def written(samples: Pcm, rate: int = RATE, container: str = "WAV", subtype: str = "PCM_16") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=container, subtype=subtype)
    return file.getvalue()


def wav(size: int | None = None, head: bytes = b"RIFF", before: bytes = b"", after: bytes = b"", cut: int = 0) -> bytes:
    """Six seconds of 24 kHz mono 16-bit WAV. size: of the data, in the header. cut: bytes left out at its end."""
    data = (babble() * 32767).astype("<i2").tobytes()
    data = data[: len(data) - cut]
    form = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    body = b"WAVE" + before + form + b"data" + struct.pack("<I", len(data) if size is None else size) + data + after
    return head + struct.pack("<I", len(body)) + body


def ds64(size: int) -> bytes:
    return b"ds64" + struct.pack("<IQQQI", 28, 0, size, 0, 0)


@pytest.mark.parametrize(
    "data",
    [
        wav(0),
        wav(0, before=LIST),
        wav(0, after=LIST),
        wav(0xFFFFFFFF),
        wav(0x7FFFFFFF),
        wav(4800),
        wav(288_123),
        wav(300_000),
        wav(after=LIST),
        wav(cut=1, after=LIST),
        wav(cut=1, after=b"\0" + LIST),
        wav(after=bytes(range(100))),
        wav(0xFFFFFFFF, head=b"RF64", before=ds64(288_000)),
        wav(0xFFFFFFFF, head=b"RF64", before=ds64(0)),
        wav(0xFFFFFFFF, head=b"RF64", before=ds64(2**40)),
        wav(0xFFFFFFFF, head=b"RF64"),
        wav(0xFFFFFFFF, head=b"BW64", before=ds64(288_000), after=LIST),
        wav(0, head=b"RF64", before=ds64(0)),
    ],
)
def test_a_wav_file_is_read_to_its_samples_end_whatever_size_its_header_has(voice: Path, data: bytes) -> None:
    card = card_of(voice, data)
    assert (card.reference_problem, card.reference_warnings) == (None, ())


def test_a_wav_file_that_has_no_samples_is_refused_for_its_length(voice: Path) -> None:
    empty = wav(0, after=LIST)[:44] + LIST
    assert "lasts 0.0 s" in (card_of(voice, empty).reference_problem or "")


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\0\0\0\x20ftypM4A \0\0\0\0", "M4A"),
        (b"\0\0\0\x18ftypmp42", "MP4"),
        (b"\xff\xf1\x50\x80\x2e\x7f\xfc\x21", "AAC"),
        (b"\x1aE\xdf\xa3\x9fB\x86\x81\x01", "WebM"),
        (b"#!AMR\n\x3c\x91", "AMR"),
        (b"0&\xb2u\x8ef\xcf\x11\xa6\xd9\0\xaa", "WMA"),
        (b"PK\x03\x04\x14\0\0\0", "ZIP"),
    ],
)
def test_a_format_that_cannot_be_decoded_is_named_with_the_command_that_converts_it(
    voice: Path, data: bytes, name: str
) -> None:
    problem = card_of(voice, data + bytes(500)).reference_problem or ""
    assert name in problem
    assert "ffmpeg -i" in problem


def test_an_mp3_with_a_cover_picture_and_a_flac_file_named_wav_are_read(voice: Path) -> None:
    picture = b"APIC" + struct.pack(">I", 200_000) + b"\0\0" + bytes(range(250)) * 800
    size = bytes((len(picture) >> shift) & 0x7F for shift in (21, 14, 7, 0))
    cover = b"ID3\x03\0\0" + size + picture
    mp3 = written(babble(), RATE, "MP3", "MPEG_LAYER_III")
    assert card_of(voice, cover + mp3).complete
    assert card_of(voice, written(babble(), RATE, "FLAC")).complete


def test_a_quiet_recording_is_refused_with_its_level_and_a_low_one_is_warned_of(voice: Path) -> None:
    quiet = card_of(voice, written(babble(peak=10 ** (-50 / 20)))).reference_problem or ""
    assert "-50 dBFS" in quiet
    assert "silent" not in quiet
    assert "-33 dBFS" in warnings_of(voice, babble(peak=10 ** (-33 / 20)))
    assert "-33 dBFS" in warnings_of(voice, babble(peak=10 ** (-33 / 20)) + np.float32(0.2))
    assert warnings_of(voice, babble(peak=10 ** (-20 / 20))) == ""


def test_an_offset_is_warned_of_and_a_sound_cards_usual_one_is_not(voice: Path) -> None:
    assert "offset of 0.20" in warnings_of(voice, babble() * 0.7 + np.float32(0.2))
    assert "offset of -0.03" in warnings_of(voice, babble() - np.float32(0.03))
    assert warnings_of(voice, babble() + np.float32(0.003)) == ""


def test_a_recording_that_was_clipped_and_then_made_quieter_is_warned_of(voice: Path) -> None:
    assert "clipped" in warnings_of(voice, np.clip(babble(peak=2), -1, 1) * np.float32(0.4))
    assert warnings_of(voice, babble(peak=0.4)) == ""


def test_channels_that_differ_are_warned_of_otherwise_than_equal_ones(voice: Path) -> None:
    one, half = babble(), babble() * np.float32(0.5)
    turns = np.arange(one.size) // RATE % 2 == 0
    assert "differ" not in warnings_of(voice, np.stack((one, half), axis=1))
    assert "differ" not in warnings_of(voice, np.stack((one, 0 * one), axis=1))
    assert "differ" in warnings_of(voice, np.stack((one * turns, one * ~turns), axis=1))
    assert "cancel" in warnings_of(voice, np.stack((one, -half), axis=1))


def test_long_silence_at_an_end_or_between_is_warned_of(voice: Path) -> None:
    still = np.zeros(int(1.9 * RATE), dtype=np.float32)
    assert "begins with 1.9 s" in warnings_of(voice, np.concatenate((still, babble(5))))
    assert "ends with 1.9 s" in warnings_of(voice, np.concatenate((babble(5), still)))
    parts = (babble(3), np.zeros(int(2.4 * RATE), dtype=np.float32), babble(3))
    assert "pause of 2.4 s" in warnings_of(voice, np.concatenate(parts))


def test_a_telephones_band_is_warned_of_at_whatever_rate(voice: Path) -> None:
    import soxr

    telephone = soxr.resample(babble(rate=8000), 8000, RATE).astype(np.float32)
    assert "above 4 kHz" in warnings_of(voice, telephone)
    assert "rate is 8000 Hz" in warnings_of(voice, babble(rate=8000), 8000)
