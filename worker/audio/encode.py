"""Samples to bytes: the encodings of the contract, each a class with `encode` and `flush`.

Samples beyond ±1 clip. A 16-bit sample is round(x * 32768), so 16-bit audio at 24 kHz keeps its bits. µ-law and A-law
are ITU-T G.711 of the 16-bit samples (their upper 14 and 13 bits), from a table of all 65,536 samples. Negative
samples take the one's complement, as in the ITU's reference software (G.191).
"""

from __future__ import annotations

from functools import cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from worker.audio import AudioError


class Encoder(Protocol):
    """Turns float32 samples into an encoding's bytes."""

    bytes_per_sample: int

    def encode(self, pcm: NDArray[np.float32]) -> bytes:
        """Return the bytes that are final. pcm: float32 [n] in -1..1."""

    def flush(self) -> bytes:
        """Return the bytes still held back."""


class _Stateless:
    def flush(self) -> bytes:
        return b""


class PcmS16Le(_Stateless):
    bytes_per_sample = 2

    def encode(self, pcm: NDArray[np.float32]) -> bytes:
        return _sixteen_bits(pcm).tobytes()


class PcmF32Le(_Stateless):
    bytes_per_sample = 4

    def encode(self, pcm: NDArray[np.float32]) -> bytes:
        return pcm.clip(-1.0, 1.0).astype("<f4", copy=False).tobytes()


class MuLaw(_Stateless):
    bytes_per_sample = 1

    def encode(self, pcm: NDArray[np.float32]) -> bytes:
        return _mulaw_table().take(_sixteen_bits(pcm).view("<u2")).tobytes()


class ALaw(_Stateless):
    bytes_per_sample = 1

    def encode(self, pcm: NDArray[np.float32]) -> bytes:
        return _alaw_table().take(_sixteen_bits(pcm).view("<u2")).tobytes()


_ENCODERS: dict[str, type[PcmS16Le | PcmF32Le | MuLaw | ALaw]] = {
    "pcm_s16le": PcmS16Le,
    "pcm_f32le": PcmF32Le,
    "mulaw": MuLaw,
    "alaw": ALaw,
}


def encoder(encoding: str) -> Encoder:
    """Return a new encoder. Raises AudioError for an unknown encoding."""
    return _kind(encoding)()


def bytes_per_sample(encoding: str) -> int:
    """Return the size of one encoded sample. Raises AudioError for an unknown encoding."""
    return _kind(encoding).bytes_per_sample


def _kind(encoding: str) -> type[PcmS16Le | PcmF32Le | MuLaw | ALaw]:
    kind = _ENCODERS.get(encoding)
    if kind is None:
        raise AudioError(f"encoding {encoding!r} is not offered", f"use one of {', '.join(_ENCODERS)}")
    return kind


_SCALE, _LEAST, _MOST = np.float32(32768.0), np.float32(-32768.0), np.float32(32767.0)
_INT16_LE = np.dtype("<i2")


def _sixteen_bits(pcm: NDArray[np.float32]) -> NDArray[np.int16]:
    scaled = pcm * _SCALE
    np.rint(scaled, out=scaled)
    np.maximum(scaled, _LEAST, out=scaled)  # faster than np.clip, which inspects its arguments first
    np.minimum(scaled, _MOST, out=scaled)
    return scaled.astype(_INT16_LE)


@cache
def _mulaw_table() -> NDArray[np.uint8]:
    """G.711 µ-law codes of the 16-bit samples, indexed by their bits: sign, 3-bit segment, 4-bit step."""
    sample = np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int32)
    magnitude = np.minimum(np.where(sample < 0, ~sample, sample) >> 2, 8158) + 33  # 14 bits and the bias
    segment = _bit_length(magnitude) - 6
    step = (magnitude >> (segment + 1)) & 0x0F
    code = (segment << 4 | step) ^ np.where(sample < 0, 0x7F, 0xFF)  # G.711 transmits inverted bits
    return np.asarray(code, dtype=np.uint8)


@cache
def _alaw_table() -> NDArray[np.uint8]:
    """G.711 A-law codes of all 16-bit samples, indexed by their bits; even bits inverted as transmitted."""
    sample = np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int32)
    magnitude = np.where(sample < 0, ~sample, sample) >> 3  # 12 bits: A-law takes 13 with the sign
    segment = np.maximum(_bit_length(magnitude) - 5, 0)
    step = (magnitude >> np.maximum(segment, 1)) & 0x0F
    code = (segment << 4 | step) ^ np.where(sample < 0, 0x55, 0xD5)
    return code.astype(np.uint8)


def _bit_length(values: NDArray[np.int32]) -> NDArray[np.int32]:
    return np.frexp(values.astype(np.float64))[1].astype(np.int32)
