"""Resampling: the same bits however it is fed, the right length, and the same sound."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from schemas.jobs import SAMPLE_RATES
from worker.audio import AudioError
from worker.audio.resample import ENGINE_RATE_HZ, Resampler

OTHER_RATES = [rate for rate in SAMPLE_RATES if rate != ENGINE_RATE_HZ]


def resampled(pcm: NDArray[np.float32], rate_hz: int, cuts: list[int]) -> NDArray[np.float32]:
    resampler = Resampler(rate_hz)
    parts = np.split(pcm, sorted(min(cut, pcm.size) for cut in cuts))
    return np.concatenate([*(resampler.process(part) for part in parts), resampler.flush()])


@settings(deadline=None)
@given(
    st.sampled_from(SAMPLE_RATES),
    st.integers(0, 9000),
    st.lists(st.integers(0, 9000), max_size=20),
    st.integers(0, 2**32 - 1),
)
def test_the_bits_do_not_depend_on_where_the_input_was_cut(rate_hz: int, n: int, cuts: list[int], seed: int) -> None:
    pcm = np.random.default_rng(seed).uniform(-1, 1, n).astype(np.float32)
    assert np.array_equal(resampled(pcm, rate_hz, cuts), resampled(pcm, rate_hz, []))


@pytest.mark.parametrize("rate_hz", SAMPLE_RATES)
def test_feeding_single_samples_gives_the_same_bits_as_feeding_all(rate_hz: int) -> None:
    pcm = np.random.default_rng(5).uniform(-1, 1, 3000).astype(np.float32)
    assert np.array_equal(resampled(pcm, rate_hz, list(range(pcm.size))), resampled(pcm, rate_hz, []))


@pytest.mark.parametrize("rate_hz", SAMPLE_RATES)
def test_a_second_lasts_a_second_at_every_rate(rate_hz: int) -> None:
    assert resampled(np.zeros(ENGINE_RATE_HZ, dtype=np.float32), rate_hz, [1920]).size == rate_hz


@pytest.mark.parametrize("rate_hz", OTHER_RATES)
def test_a_tone_stays_the_same_tone_in_the_same_place(rate_hz: int) -> None:
    def sine(rate: int) -> NDArray[np.float64]:
        return 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)

    out = resampled(sine(ENGINE_RATE_HZ).astype(np.float32), rate_hz, list(range(0, 24000, 1920)))
    middle = slice(rate_hz // 10, -rate_hz // 10)
    assert np.abs(out - sine(rate_hz))[middle].max() < 1e-4


def test_what_a_lower_rate_cannot_carry_is_removed_and_not_folded_back() -> None:
    pcm = (0.5 * np.sin(2 * np.pi * 6000 * np.arange(24000) / 24000)).astype(np.float32)
    assert np.abs(resampled(pcm, 8000, [])[800:-800]).max() < 1e-3


def test_at_the_engines_own_rate_samples_pass_untouched() -> None:
    pcm = np.random.default_rng(1).uniform(-1, 1, 500).astype(np.float32)
    resampler = Resampler(ENGINE_RATE_HZ)
    assert resampler.process(pcm) is pcm
    assert resampler.flush().size == 0


def test_soxr_is_not_loaded_when_no_rate_is_to_be_changed() -> None:
    use = "from worker.audio.chain import Chain; Chain(24000, 'mulaw')"
    script = f"import sys; {use}; sys.exit('soxr' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.parametrize("rate_hz", [0, -1, 11025, 96000])
def test_a_rate_that_is_not_offered_is_refused_with_those_that_are(rate_hz: int) -> None:
    with pytest.raises(AudioError, match="22050"):
        Resampler(rate_hz)
