"""Faults in the samples are found where they are, and in clean speech there are none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.previewing import segment, speak
from tests.quality.fakes import RATE_HZ, Pcm, vowels, with_pause
from worker.engine.preview.engine import PreviewEngine
from worker.quality.samples import examine, find_clicks, find_holes

TEXTS = {
    "English": "The kettle is on the stove, and the cups are in the left cupboard. Take two of them.",
    "German": "Bitte biege an der nächsten Ecke links ab, dann stehst du vor dem Tor.",
    "Japanese": "かたて、たたき、きって、ぱっと。",
}


@pytest.fixture(scope="module")
def speech() -> Iterator[dict[str, Pcm]]:
    """Clean speech of the preview engine."""
    with closing(PreviewEngine(1)) as engine:
        yield {language: speak(engine, segment(text, language)).audio for language, text in TEXTS.items()}


@pytest.mark.parametrize("language", TEXTS)
def test_clean_speech_has_no_faults(language: str, speech: dict[str, Pcm]) -> None:
    found = examine(speech[language], RATE_HZ)
    assert (found.clicks, found.holes) == ((), ())


@pytest.mark.parametrize("language", TEXTS)
def test_a_lost_frame_in_speech_is_a_hole(language: str, speech: dict[str, Pcm]) -> None:
    pcm = speech[language].copy()
    loud = np.flatnonzero(np.abs(pcm) > 0.2)
    at = int(loud[loud.size // 2]) + 1
    pcm[at : at + 1920] = 0
    assert find_holes(pcm, RATE_HZ) == (at,)


@settings(deadline=None)
@given(at=st.integers(2000, 20_000), size=st.floats(0.3, 0.9), sign=st.sampled_from([-1, 1]))
def test_a_click_is_found_within_a_millisecond(at: int, size: float, sign: int) -> None:
    pcm = vowels()
    pcm[at] += sign * size
    (found,) = find_clicks(pcm)
    assert abs(found - at) <= 24


@settings(deadline=None)
@given(at=st.integers(2000, 20_000), n=st.integers(48, 3000))
def test_a_hole_is_found_where_it_begins(at: int, n: int) -> None:
    pcm = vowels()
    if abs(pcm[at - 1]) <= 0.02:
        return  # cut at a zero crossing: no sample shows it
    pcm[at : at + n] = 0
    assert find_holes(pcm, RATE_HZ) == (at,)


def test_a_step_between_two_segments_is_a_fault_of_the_seam() -> None:
    left, right = vowels(0.3), vowels(0.3)
    left[-1] = 0.0
    pcm = np.concatenate((left, np.zeros(2400, np.float32), right + np.float32(0.4)))
    found = examine(pcm, RATE_HZ, seams=(left.size + 2400,))
    assert found.clicks
    assert set(found.at_seams) <= {*found.clicks, *found.holes}
    assert found.at_seams
    assert examine(pcm, RATE_HZ, seams=(left.size // 2,)).at_seams == ()


@settings(deadline=None)
@given(
    pause_ms=st.integers(20, 900).map(lambda n: n - n % 5),
    before_ms=st.integers(0, 500),
    after_ms=st.integers(0, 500),
)
def test_silences_are_measured(pause_ms: int, before_ms: int, after_ms: int) -> None:
    found = examine(with_pause(pause_ms, before_ms, after_ms), RATE_HZ)
    assert found.leading_ms == pytest.approx(before_ms, abs=5)
    assert found.trailing_ms == pytest.approx(after_ms, abs=5)
    assert found.longest_pause_ms == pytest.approx(pause_ms, abs=12)  # the fades' ends are silent too
    assert (found.clicks, found.holes) == ((), ())


@pytest.mark.parametrize("n", [0, 1, 3, 5, 100])
def test_silence_of_any_length_has_no_sound_and_no_faults(n: int) -> None:
    found = examine(np.zeros(n, np.float32), RATE_HZ)
    assert (found.sound_s, found.longest_pause_ms, found.clicks, found.holes) == (0.0, 0.0, (), ())
    assert found.leading_ms == pytest.approx(n / 24)
