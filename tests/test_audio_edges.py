"""Fades, trimming and pauses at the edges of segments."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from worker.audio.edges import (
    AUDIBLE,
    BLOCK_SAMPLES,
    FADE_SAMPLES,
    PREROLL_BLOCKS,
    Fader,
    LeadingTrim,
    OnsetMeter,
    TrailingSilence,
    first_audible,
    last_audible,
)

Pcm = NDArray[np.float32]


def tone(n: int, level: float = 0.5) -> Pcm:
    return np.full(n, level, dtype=np.float32)


def silence(ms: float) -> Pcm:
    return tone(int(ms * 24), AUDIBLE / 2)


def join(*parts: Pcm) -> Pcm:
    return np.concatenate(parts)


def pieces(pcm: Pcm, cuts: list[int]) -> list[Pcm]:
    return np.split(pcm, sorted(min(cut, pcm.size) for cut in cuts))


def faded(*segments: Pcm) -> Pcm:
    fader = Fader()
    return join(*(part for pcm in segments for part in (fader.feed(pcm), fader.end())))


def trimmed(pcm: Pcm, max_trim_ms: int = 800) -> Pcm:
    trim = LeadingTrim(max_trim_ms)
    return join(trim.feed(pcm), trim.flush())


def test_a_segment_rises_and_falls_within_5_ms_and_is_untouched_between() -> None:
    out = faded(tone(1920))
    assert out.size == 1920
    assert np.all(np.diff(out[:FADE_SAMPLES]) > 0)
    assert np.all(np.diff(out[-FADE_SAMPLES:]) < 0)
    assert np.all(out[FADE_SAMPLES:-FADE_SAMPLES] == 0.5)
    assert out[0] < 0.001
    assert out[-1] < 0.001


def test_a_seam_is_free_of_steps_whatever_meets_there() -> None:
    out = faded(tone(1920, 0.9), tone(1920, -0.9))
    assert np.abs(np.diff(out)).max() < 0.02


@pytest.mark.parametrize("n", [0, 1, 119, 120, 121, 200, 240, 241])
def test_a_segment_shorter_than_its_fades_keeps_its_length(n: int) -> None:
    out = faded(tone(n), tone(1920))
    assert out.size == n + 1920
    assert np.array_equal(out[n:], faded(tone(1920)))


def test_only_5_ms_are_held_back() -> None:
    assert Fader().feed(tone(1920)).size == 1920 - FADE_SAMPLES


@given(
    st.lists(st.integers(0, 600), max_size=4),
    st.lists(st.integers(0, 600), max_size=8),
    st.integers(0, 2**32 - 1),
)
def test_fades_do_not_depend_on_where_a_segment_was_cut(lengths: list[int], cuts: list[int], seed: int) -> None:
    noise = np.random.default_rng(seed)
    segments = [noise.uniform(-1, 1, n).astype(np.float32) for n in lengths]
    fader, out = Fader(), [np.zeros(0, dtype=np.float32)]
    for pcm in segments:
        out += [fader.feed(piece) for piece in pieces(pcm, cuts)]
        out.append(fader.end())
    assert np.array_equal(join(*out), faded(np.zeros(0, dtype=np.float32), *segments))


def test_the_engine_may_use_its_buffers_again() -> None:
    buffer, fader, trim, trailing = silence(15), Fader(), LeadingTrim(), TrailingSilence()
    before = buffer.copy()
    trim.feed(buffer)
    trailing.begin(0)
    trailing.feed(buffer)
    fader.feed(buffer)
    assert np.array_equal(buffer, before)
    buffer[:] = 9
    assert np.abs(fader.end()).max() < 1
    assert np.abs(trim.flush()).max() < 1
    assert np.abs(trailing.feed(tone(1))).max() < 1


def test_silence_before_speech_goes_but_for_20_to_30_ms() -> None:
    for ms in (0, 5, 20, 29, 30, 95, 500):
        left_ms = (trimmed(join(silence(ms), tone(2400))).size - 2400) / 24
        assert left_ms == ms if ms < 30 else 20 <= left_ms < 30


def test_what_is_dropped_comes_from_the_front_in_whole_blocks() -> None:
    pcm = join(np.linspace(0, AUDIBLE, 2000, dtype=np.float32), tone(500))
    out = trimmed(pcm)
    assert (pcm.size - out.size) % BLOCK_SAMPLES == 0
    assert np.array_equal(out, pcm[pcm.size - out.size :])


def test_no_more_than_the_bound_is_dropped() -> None:
    assert trimmed(join(silence(2000), tone(240))).size == 1200 * 24 + 240
    assert trimmed(join(silence(300), tone(240)), max_trim_ms=100).size == 200 * 24 + 240
    assert trimmed(join(silence(300), tone(240)), max_trim_ms=0).size == 300 * 24 + 240


def test_a_segment_without_any_sound_loses_the_bound_and_keeps_the_rest() -> None:
    assert trimmed(silence(3000)).size == 2200 * 24
    assert trimmed(silence(400)).size == PREROLL_BLOCKS * BLOCK_SAMPLES
    assert trimmed(silence(15)).size == 15 * 24


def test_the_first_sound_is_given_at_once_with_all_that_came_with_it() -> None:
    trim = LeadingTrim()
    assert trim.feed(silence(80)).size == 0
    assert trim.feed(join(silence(2), tone(1))).size == 22 * 24 + 1
    assert trim.feed(tone(3)).size == 3


def test_silence_within_speech_stays() -> None:
    pcm = join(tone(240), silence(900), tone(240))
    assert np.array_equal(trimmed(pcm), pcm)


@given(
    st.lists(st.tuples(st.integers(0, 2000), st.booleans()), max_size=5),
    st.lists(st.integers(0, 8000), max_size=12),
    st.sampled_from([0, 10, 50, 800]),
)
def test_trimming_does_not_depend_on_where_speech_was_cut(
    parts: list[tuple[int, bool]], cuts: list[int], max_trim_ms: int
) -> None:
    pcm = join(*(tone(n, 0.5 if loud else 0.001) for n, loud in parts), tone(0))
    trim = LeadingTrim(max_trim_ms)
    out = [trim.feed(piece) for piece in pieces(pcm, cuts)]
    assert np.array_equal(join(*out, trim.flush()), trimmed(pcm, max_trim_ms))
    assert trim.n_dropped == pcm.size - trimmed(pcm, max_trim_ms).size <= max_trim_ms * 24


def with_silence_after(silence_ms: int, *segments: Pcm, cuts: list[int] | None = None) -> Pcm:
    trailing, out = TrailingSilence(), [tone(0)]
    for pcm in segments:
        trailing.begin(silence_ms)
        out += [trailing.feed(piece) for piece in pieces(pcm, cuts or [])]
        out.append(trailing.end(silence_ms))
    return join(*out)


@pytest.mark.parametrize("ms", [0, 5, 99, 100, 101, 500, 900])
def test_silence_after_speech_becomes_as_long_as_it_should_be(ms: int) -> None:
    out = with_silence_after(100, join(tone(2400), silence(ms)))
    assert out.size == 2400 + 100 * 24
    assert np.array_equal(out[: 2400 + min(ms, 100) * 24], join(tone(2400), silence(min(ms, 100))))


def test_no_more_silence_than_the_bound_is_dropped_after_speech() -> None:
    assert with_silence_after(100, join(tone(240), silence(2000))).size == 240 + 1200 * 24


def test_a_words_soft_end_stays_where_no_pause_belongs() -> None:
    assert with_silence_after(0, join(tone(240), silence(300))).size == 240 + 20 * 24
    assert with_silence_after(0, tone(240)).size == 240


def test_silence_between_sounds_of_one_segment_stays() -> None:
    pcm = join(tone(240), silence(700), tone(240))
    assert np.array_equal(with_silence_after(0, pcm), pcm)


def test_a_segment_without_sound_lengthens_no_pause() -> None:
    assert with_silence_after(100, join(tone(240), silence(500)), silence(400), tone(240)).size == 480 + 2 * 100 * 24


def test_nothing_is_filled_up_before_the_first_sound() -> None:
    assert with_silence_after(300, silence(10), tone(0)).size == 10 * 24


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 3000), st.booleans()), max_size=4), max_size=3),
    st.lists(st.integers(0, 9000), max_size=12),
    st.sampled_from([0, 10, 120, 300]),
)
def test_pauses_do_not_depend_on_where_speech_was_cut(
    segments: list[list[tuple[int, bool]]], cuts: list[int], silence_ms: int
) -> None:
    made = [join(*(tone(n, 0.5 if loud else 0.001) for n, loud in parts), tone(0)) for parts in segments]
    expected = with_silence_after(silence_ms, *made)
    assert np.array_equal(with_silence_after(silence_ms, *made, cuts=cuts), expected)


def test_the_last_audible_sample_is_the_last_above_the_threshold_of_either_sign() -> None:
    assert last_audible(tone(0)) is None
    assert last_audible(silence(30)) is None
    assert last_audible(join(tone(5), tone(1, -0.1), silence(40))) == 5


def test_the_first_audible_sample_is_the_first_above_the_threshold_of_either_sign() -> None:
    assert first_audible(tone(0)) is None
    assert first_audible(silence(10)) is None
    assert first_audible(join(silence(1), tone(1, -0.1), tone(5))) == 24


def test_a_watch_counts_samples_across_calls_and_remembers_the_first_sound_only() -> None:
    meter = OnsetMeter()
    for pcm in (silence(1), tone(0), silence(2), join(silence(1), tone(4)), tone(9)):
        meter.add(pcm)
    assert meter.audible_at == 4 * 24
    assert meter.n_samples == 4 * 24 + 13
