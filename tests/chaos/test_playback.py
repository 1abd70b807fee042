from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.playback import Playback, play

RATE_HZ = 1024  # arrivals in whole samples are exact floats


def _played(arrivals: list[tuple[int, int]], start_buffer: int = 0) -> Playback:
    """Chunks that arrive at a number of samples' time."""
    return play([(at / RATE_HZ, n) for at, n in arrivals], RATE_HZ, start_buffer / RATE_HZ)


def _after_one_another(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    times = accumulate(delay for delay, _ in pairs)
    return [(at, n) for at, (_, n) in zip(times, pairs, strict=True)]


sizes = st.integers(0, 40)
utterances = st.lists(st.tuples(sizes, sizes), min_size=1, max_size=12).map(_after_one_another)
start_buffers = st.integers(1, 100)


@given(utterances, start_buffers)
def test_it_plays_what_a_player_of_one_sample_after_another_plays(
    arrivals: list[tuple[int, int]], start_buffer: int
) -> None:
    playback = _played(arrivals, start_buffer)
    n_all, last = sum(n for _, n in arrivals), arrivals[-1][0]
    n_played, silent, has_started = 0, [], False
    ahead = []
    for now in range(last + n_all + 1):
        n_arrived = sum(n for at, n in arrivals if at <= now)
        has_started = has_started or n_arrived >= start_buffer or now >= last
        ahead.append(n_arrived - n_played)
        if has_started and n_played < n_arrived:
            n_played += 1
        elif has_started and n_arrived < n_all:
            silent.append(now)
    assert n_played == n_all
    heard = [round(u.at_s * RATE_HZ) + n for u in playback.underruns for n in range(round(u.missing_s * RATE_HZ))]
    assert heard == silent
    assert [playback.ahead_s(now / RATE_HZ) * RATE_HZ for now in range(len(ahead))] == ahead


@given(utterances, start_buffers)
def test_every_sample_is_played_once_after_it_arrived_and_as_early_as_that_allows(
    arrivals: list[tuple[int, int]], start_buffer: int
) -> None:
    playback = _played(arrivals, start_buffer)
    n_all = sum(n for _, n in arrivals)
    n_left = [n_all - before for before in accumulate((n for _, n in arrivals[:-1]), initial=0)]
    latest = max(at + left for (at, n), left in zip(arrivals, n_left, strict=True) if n) if n_all else 0
    assert playback.ends_at_s * RATE_HZ == max(playback.starts_at_s * RATE_HZ + n_all, latest)
    silent_s = playback.missing_s(0, playback.ends_at_s + 1)
    assert playback.ends_at_s - playback.starts_at_s == n_all / RATE_HZ + silent_s


@given(utterances, start_buffers, st.integers(0, 100))
def test_a_larger_start_buffer_never_lets_more_be_missing(
    arrivals: list[tuple[int, int]], start_buffer: int, more: int
) -> None:
    small, large = _played(arrivals, start_buffer), _played(arrivals, start_buffer + more)
    assert large.starts_at_s >= small.starts_at_s
    assert sum(u.missing_s for u in large.underruns) <= sum(u.missing_s for u in small.underruns)


@given(utterances, start_buffers, st.integers(0, 100), st.integers(1, 100))
def test_a_pause_is_heard_exactly_as_far_as_it_outlasts_what_lay_ahead(
    arrivals: list[tuple[int, int]], start_buffer: int, pause: int, n_next: int
) -> None:
    last = arrivals[-1][0]
    at = last + pause
    playback = _played([*arrivals, (at, n_next)], start_buffer)
    ahead_s = playback.ahead_s(last / RATE_HZ)
    outlasts_s = pause / RATE_HZ - ahead_s
    has_started = playback.starts_at_s <= last / RATE_HZ
    expected = outlasts_s if has_started and outlasts_s > 0 else 0.0
    assert playback.missing_s(last / RATE_HZ, at / RATE_HZ) == expected


@given(utterances, start_buffers, st.integers(0, 300), st.integers(0, 100), st.integers(0, 100))
def test_the_silence_of_two_spans_side_by_side_is_that_of_both_together(
    arrivals: list[tuple[int, int]], start_buffer: int, first: int, n_one: int, n_other: int
) -> None:
    playback = _played(arrivals, start_buffer)
    at_s = [at / RATE_HZ for at in (first, first + n_one, first + n_one + n_other)]
    silent_s = playback.missing_s(at_s[0], at_s[1]) + playback.missing_s(at_s[1], at_s[2])
    assert silent_s == playback.missing_s(at_s[0], at_s[2]) <= at_s[2] - at_s[0]


@pytest.mark.parametrize("chunks", [[], [(2.0, 80), (1.0, 80)]])
def test_no_chunk_and_chunks_out_of_order_are_refused(chunks: list[tuple[float, int]]) -> None:
    with pytest.raises(ValueError, match="at least one chunk"):
        play(chunks, 8000)
