"""Decoding returns what was encoded."""

from __future__ import annotations

import numpy as np
import pytest

from worker.audio import AudioError
from worker.audio.decode import decode
from worker.audio.encode import encoder

EVERY_SAMPLE = (np.arange(-32768, 32768) / 32768).astype(np.float32)


@pytest.mark.parametrize("encoding", ["pcm_s16le", "pcm_f32le"])
def test_pcm_comes_back_exactly(encoding: str) -> None:
    np.testing.assert_array_equal(decode(encoding, encoder(encoding).encode(EVERY_SAMPLE)), EVERY_SAMPLE)


@pytest.mark.parametrize("encoding", ["mulaw", "alaw"])
def test_g711_comes_back_within_half_a_step_of_its_segment(encoding: str) -> None:
    heard = decode(encoding, encoder(encoding).encode(EVERY_SAMPLE))
    error = np.abs(heard - EVERY_SAMPLE)
    assert error.max() <= 1100 / 32768  # the largest step, near full scale, and what clips above it
    quiet = np.abs(EVERY_SAMPLE) < 100 / 32768
    assert error[quiet].max() <= 8 / 32768
    assert (np.sign(heard[EVERY_SAMPLE > 0]) >= 0).all()


@pytest.mark.parametrize("encoding", ["mulaw", "alaw"])
def test_every_g711_byte_is_what_it_was_decoded_from(encoding: str) -> None:
    every_byte = bytes(range(256))
    again = encoder(encoding).encode(decode(encoding, every_byte))
    differing = [(a, b) for a, b in zip(every_byte, again, strict=True) if a != b]
    assert differing in ([], [(0x7F, 0xFF)])  # mu-law has two zeros


def test_half_a_sample_at_the_end_is_left_out() -> None:
    assert len(decode("pcm_s16le", b"\x00\x01\x02")) == 1
    assert len(decode("pcm_f32le", b"\x00" * 7)) == 1


def test_an_unknown_encoding_is_refused() -> None:
    with pytest.raises(AudioError):
        decode("mp3", b"")
