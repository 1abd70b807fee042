"""Frames from a synthesiser's samples: whole, and the same however the samples were cut."""

from __future__ import annotations

import itertools
import math

import numpy as np
import soxr
from hypothesis import given
from hypothesis import strategies as st

from worker.engine.base import FRAME_SAMPLES
from worker.engine.preview.cutter import FrameCutter

RATE_HZ = 22_050


@given(
    pcm=st.integers(0, 2**32 - 1).map(
        lambda seed: (
            np.random.default_rng(seed)
            .integers(-32768, 32767, size=seed % 9000, dtype=np.int16, endpoint=True)
            .tobytes()
        )
    ),
    cuts=st.lists(st.integers(0, 18_000), max_size=12),
    taken=st.lists(st.integers(0, 4), max_size=12),
)
def test_frames_never_depend_on_how_the_samples_were_cut(pcm: bytes, cuts: list[int], taken: list[int]) -> None:
    whole = FrameCutter(RATE_HZ)
    whole.feed(pcm)
    expected = whole.take(1000, is_end=True)
    cutter, frames = FrameCutter(RATE_HZ), []
    edges = [0, *sorted(min(cut, len(pcm)) for cut in cuts), len(pcm)]
    for i, (start, end) in enumerate(itertools.pairwise(edges)):
        cutter.feed(pcm[start:end])
        frames.append(cutter.take(taken[i] if i < len(taken) else 1, is_end=False))
    frames.append(cutter.take(1000, is_end=True))
    assert np.concatenate(frames).tobytes() == expected.tobytes()
    assert len(expected) == math.ceil(len(pcm) / 2 / 1764) * FRAME_SAMPLES


def test_frames_are_what_soxr_makes_of_the_whole() -> None:
    pcm = (20_000 * np.sin(np.arange(1764 * 5 + 300) / 20)).astype(np.int16)
    cutter = FrameCutter(RATE_HZ)
    cutter.feed(pcm.tobytes())
    frames = cutter.take(100, is_end=True)
    reference = soxr.resample(pcm.astype(np.float32) / 32768, RATE_HZ, 24_000, quality="HQ")
    assert len(frames) == 6 * FRAME_SAMPLES
    np.testing.assert_allclose(frames[: len(reference)], reference, atol=1e-5)
    assert not frames[len(reference) + 1 :].any()
