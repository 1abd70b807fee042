"""Encoders against an independent, slow reading of G.711, and the laws of the PCM forms."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from schemas.jobs import Encoding
from worker.audio import AudioError
from worker.audio.encode import bytes_per_sample, encoder

ALL_SAMPLES = np.arange(-32768, 32768, dtype=np.int16)


def floats(samples: NDArray[np.int16]) -> NDArray[np.float32]:
    return samples.astype(np.float32) / np.float32(32768)


def mulaw_by_hand(sample: int) -> int:
    """The ITU's µ-law compression (G.191), one sample at a time."""
    magnitude = min(((~sample if sample < 0 else sample) >> 2) + 33, 0x1FFF)
    segment, rest = 1, magnitude >> 6
    while rest:
        segment, rest = segment + 1, rest >> 1
    code = (0x8 - segment) << 4 | (0xF - ((magnitude >> segment) & 0xF))
    return code if sample < 0 else code | 0x80


def alaw_by_hand(sample: int) -> int:
    """The ITU's A-law compression (G.191), one sample at a time."""
    magnitude = (~sample if sample < 0 else sample) >> 4
    if magnitude > 15:
        exponent = 1
        while magnitude > 31:
            magnitude, exponent = magnitude >> 1, exponent + 1
        magnitude = magnitude - 16 + (exponent << 4)
    return (magnitude if sample < 0 else magnitude | 0x80) ^ 0x55


def mulaw_heard(code: int) -> int:
    code = ~code & 0xFF
    magnitude = ((((code & 0xF) << 3) + 0x84) << (code >> 4 & 7)) - 0x84
    return -magnitude if code & 0x80 else magnitude


def alaw_heard(code: int) -> int:
    code ^= 0x55
    segment, magnitude = code >> 4 & 7, (code & 0xF) << 4
    magnitude = magnitude + 8 if segment == 0 else (magnitude + 0x108) << (segment - 1)
    return magnitude if code & 0x80 else -magnitude


def test_every_16_bit_sample_becomes_the_mulaw_code_of_the_itu() -> None:
    assert list(encoder("mulaw").encode(floats(ALL_SAMPLES))) == [mulaw_by_hand(int(s)) for s in ALL_SAMPLES]


def test_every_16_bit_sample_becomes_the_alaw_code_of_the_itu() -> None:
    assert list(encoder("alaw").encode(floats(ALL_SAMPLES))) == [alaw_by_hand(int(s)) for s in ALL_SAMPLES]


@pytest.mark.parametrize(("encoding", "heard"), [("mulaw", mulaw_heard), ("alaw", alaw_heard)])
def test_g711_decodes_to_the_sample_within_half_a_step(encoding: str, heard: Callable[[int], int]) -> None:
    said = ALL_SAMPLES[np.abs(ALL_SAMPLES.astype(np.int32)) < 32000]  # above, both laws are at their ceiling
    codes = encoder(encoding).encode(floats(said))
    error = np.abs(np.array([heard(code) for code in codes]) - said.astype(np.float64))
    assert np.all(error <= (np.abs(said.astype(np.float64)) + 132) / 32 + 4)


def test_silence_is_the_idle_code_of_each_law() -> None:
    silence = np.zeros(3, dtype=np.float32)
    assert encoder("mulaw").encode(silence) == b"\xff" * 3
    assert encoder("alaw").encode(silence) == b"\xd5" * 3


def test_16_bit_audio_comes_out_as_it_went_in() -> None:
    assert encoder("pcm_s16le").encode(floats(ALL_SAMPLES)) == ALL_SAMPLES.astype("<i2").tobytes()


def test_samples_beyond_full_scale_clip_and_do_not_wrap() -> None:
    loud = np.array([1.0, 1.5, 1e30, -1.0, -1.5, -1e30], dtype=np.float32)
    assert np.frombuffer(encoder("pcm_s16le").encode(loud), "<i2").tolist() == [32767] * 3 + [-32768] * 3
    assert np.frombuffer(encoder("pcm_f32le").encode(loud), "<f4").tolist() == [1.0] * 3 + [-1.0] * 3
    assert encoder("mulaw").encode(loud) == b"\x80" * 3 + b"\x00" * 3
    assert encoder("alaw").encode(loud) == b"\xaa" * 3 + b"\x2a" * 3


@given(st.lists(st.floats(-2, 2, width=32), max_size=50))
def test_16_bit_samples_are_the_nearest_ones(values: list[float]) -> None:
    pcm = np.array(values, dtype=np.float32)
    out = np.frombuffer(encoder("pcm_s16le").encode(pcm), "<i2")
    wanted = np.clip(pcm.astype(np.float64) * 32768, -32768, 32767)
    assert np.all(np.abs(out - wanted) <= 0.5)


@pytest.mark.parametrize("encoding", list(Encoding))
def test_every_encoding_of_the_contract_is_offered_with_its_size(encoding: Encoding) -> None:
    made = encoder(encoding)
    assert len(made.encode(np.zeros(7, dtype=np.float32))) == 7 * bytes_per_sample(encoding)
    assert made.encode(np.zeros(0, dtype=np.float32)) == made.flush() == b""
    assert made.bytes_per_sample == bytes_per_sample(encoding)


def test_an_encoding_that_is_not_offered_is_refused_with_those_that_are() -> None:
    with pytest.raises(AudioError, match=r"opus.*pcm_s16le, pcm_f32le, mulaw, alaw"):
        encoder("opus")
    with pytest.raises(AudioError, match="opus"):
        bytes_per_sample("opus")


@pytest.mark.parametrize("encoding", list(Encoding))
def test_encoding_leaves_the_samples_it_was_given_alone(encoding: Encoding) -> None:
    pcm = np.linspace(-2, 2, 99, dtype=np.float32)
    before = pcm.copy()
    encoder(encoding).encode(pcm)
    assert np.array_equal(pcm, before)
