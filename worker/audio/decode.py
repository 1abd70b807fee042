"""Encoded samples back to float32, for the command line, the benchmarks and the tests."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from worker.audio.encode import bytes_per_sample


def decode(encoding: str, data: bytes) -> NDArray[np.float32]:
    """Return float32 [samples] in -1..1, without an incomplete sample at the end. Raises AudioError."""
    whole = data[: len(data) - len(data) % bytes_per_sample(encoding)]
    if encoding == "pcm_f32le":
        return np.frombuffer(whole, "<f4").astype(np.float32)
    if encoding == "pcm_s16le":
        return np.frombuffer(whole, "<i2").astype(np.float32) / np.float32(32768)
    table = _mulaw() if encoding == "mulaw" else _alaw()
    return table[np.frombuffer(whole, np.uint8)]


@cache
def _mulaw() -> NDArray[np.float32]:
    """G.711 mu-law: sign, 3 bits of exponent, 4 of mantissa, all inverted; 16-bit scale."""
    code = ~np.arange(256, dtype=np.uint8)
    exponent, mantissa = (code >> 4 & 7).astype(np.int32), (code & 15).astype(np.int32)
    size = ((mantissa * 8 + 132) << exponent) - 132
    return (np.where(code & 128, -size, size) / 32768).astype(np.float32)


@cache
def _alaw() -> NDArray[np.float32]:
    """G.711 A-law: every second bit inverted; exponent 0 is linear; 16-bit scale."""
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    exponent, mantissa = (code >> 4 & 7).astype(np.int32), (code & 15).astype(np.int32)
    size = np.where(exponent == 0, mantissa * 16 + 8, (mantissa * 16 + 264) << np.maximum(exponent - 1, 0))
    return (np.where(code & 128, size, -size) / 32768).astype(np.float32)
