"""Which segment has a slot where more wait than there are slots."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf

import pytest

from tests.conftest import REPOSITORY
from worker.engine.base import SILENCE, Finish, Frames, Segment
from worker.engine.parking import MARGIN_S, N_ENDS, PATIENCE_S, Turnover, next_to_open, to_park
from worker.engine.playback import Playback
from worker.engine.segment_stream import DANGER_S, QUEUE_FRAMES, SegmentStream
from worker.voices.card import Card, load_card

FAR_S = 100.0  # a lead that no test's listener plays


@pytest.fixture
def card() -> Card:
    return load_card(REPOSITORY / "voices" / "placeholder")


@dataclass(slots=True)
class Hand:
    """A clock that a test sets."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


# The lead.


def test_the_lead_is_what_was_written_minus_the_time_since() -> None:
    clock = Hand(50.0)
    playback = Playback(clock=clock)
    playback.wrote(3.0)
    clock.now += 1.0
    assert playback.lead_s == pytest.approx(2.0)


def test_a_listener_who_has_run_dry_waits_and_goes_on_with_the_next_sample() -> None:
    clock = Hand()
    playback = Playback(clock=clock)
    playback.wrote(1.0)
    clock.now = 5.0
    assert playback.lead_s == pytest.approx(-4.0)
    playback.wrote(2.0)
    assert playback.lead_s == pytest.approx(2.0)


def test_a_take_over_comes_first_until_its_first_new_samples_and_goes_on_from_its_estimate() -> None:
    clock = Hand()
    orphan, dry = Playback(7.0, clock), Playback(-7.0, clock)
    assert (orphan.standing_s, dry.standing_s) == (-inf, -inf)
    assert (orphan.lead_s, dry.lead_s) == (7.0, -7.0)
    for playback in (orphan, dry):
        playback.wrote(1.0)
    assert (orphan.standing_s, dry.standing_s) == (8.0, 1.0)


# The choice.


class Nobody:
    """An owner of streams that are in no engine."""

    def took(self, stream: SegmentStream, n: int) -> None: ...
    def cancel(self, stream: SegmentStream) -> None: ...
    def extend(self, stream: SegmentStream) -> None: ...


def stream_of(
    lead_s: float | None, slot: int | None = None, n_queued: int = 0, clock: Hand | None = None
) -> SegmentStream:
    playback = None if lead_s is None else Playback(clock=clock or Hand())
    if playback is not None and lead_s is not None:
        playback.wrote(lead_s)
    stream = SegmentStream(Nobody(), Segment("", "English", None, 0, 1), playback)  # type: ignore[arg-type]
    stream.slot, stream.n_queued = slot, n_queued
    return stream


def test_the_smallest_lead_is_opened_first_and_of_equals_the_first() -> None:
    far, near, equal = stream_of(9.0), stream_of(1.0), stream_of(1.0)
    assert next_to_open([far, near, equal]) is near
    full = stream_of(0.0, n_queued=QUEUE_FRAMES // 2)
    assert next_to_open([full]) is None, "its reader has enough for now"
    assert next_to_open([full, far]) is far


def new_stream(waited_s: float) -> SegmentStream:
    """Of an utterance without audio so far."""
    clock = Hand()
    stream = SegmentStream(Nobody(), Segment("", "English", None, 0, 1), Playback(clock=clock))  # type: ignore[arg-type]
    clock.now = waited_s
    return stream


def test_who_runs_dry_soon_is_opened_first_then_who_has_no_audio_yet_and_of_these_the_first() -> None:
    soon, early, late, far = stream_of(DANGER_S / 2), new_stream(5.0), new_stream(1.0), stream_of(2 * DANGER_S)
    orphan = SegmentStream(Nobody(), early.segment, Playback(3.0, Hand()))
    waiting = [far, late, early, soon, orphan]
    for expected in (orphan, soon, early, late, far):
        assert next_to_open(waiting) is expected
        waiting.remove(expected)


def test_one_without_audio_takes_a_slot_in_use_only_where_none_becomes_free_in_time() -> None:
    opened = [stream_of(9.0, 0), stream_of(8.0, 1)]
    often, seldom = PATIENCE_S / 2.5, PATIENCE_S * 1.1
    assert to_park([new_stream(0.1)], opened, set(), free_every_s=often) == []
    assert to_park([new_stream(0.1)], opened, set(), free_every_s=seldom) == [opened[0]]
    assert to_park([new_stream(0.1)] * 9, opened, set(), free_every_s=often) == [], "exchanges make nothing faster"
    assert to_park([new_stream(0.1)], opened, {1}, free_every_s=often) == [opened[1]], "a paused one does not step"


def test_a_listener_with_a_lead_takes_a_slot_only_where_he_would_run_dry_before_one_is_free() -> None:
    opened = [stream_of(9.0, 0)]
    assert to_park([stream_of(2.0)], opened, set(), free_every_s=1.5) == []
    assert to_park([stream_of(2.0)], opened, set(), free_every_s=2.5) == [opened[0]]


def test_how_often_a_slot_becomes_free_is_known_from_the_last_ends_and_not_from_parked_ones() -> None:
    turnover = Turnover()
    end = Frames(0, 0, SILENCE, finish=Finish.STOP)
    for n in range(N_ENDS):
        assert turnover.interval_s(float(n)) == inf
        turnover.count([replace(end, finish=None), replace(end, finish=Finish.CANCELLED)], 0.5 * n)
        turnover.count([end], 0.5 * n)
    last_s = 0.5 * (N_ENDS - 1)
    assert turnover.interval_s(last_s) == pytest.approx(0.5)
    assert turnover.interval_s(last_s + 9.0) == pytest.approx(9.0), "nothing has ended for so long"


def test_the_largest_lead_is_parked_and_only_for_a_lead_that_is_smaller_by_the_margin() -> None:
    opened = [stream_of(lead_s, slot) for slot, lead_s in enumerate((2.0, 8.0, 5.0))]
    assert to_park([stream_of(0.0)], opened, set()) == [opened[1]]
    assert to_park([stream_of(0.0), stream_of(1.0)], opened, set()) == [opened[1], opened[2]]
    assert to_park([stream_of(8.0 - MARGIN_S)], opened, set()) == []
    assert to_park([], opened, set()) == []


def test_a_paused_segment_is_parked_before_one_with_a_larger_lead() -> None:
    opened = [stream_of(9.0, 0), stream_of(0.5, 1)]
    assert to_park([stream_of(0.0)], opened, {1}) == [opened[1]]
    assert to_park([stream_of(0.6)], opened, {1}) == [opened[0]], "a paused one that is needier keeps its slot"


def test_segments_that_are_leaving_already_make_room_for_as_many() -> None:
    opened = [stream_of(9.0, 0), stream_of(8.0, 1)]
    opened[0].is_parking = True
    assert to_park([stream_of(0.0)], opened, set()) == []
    assert to_park([stream_of(0.0), stream_of(0.0)], opened, set()) == [opened[1]]


def test_a_segment_that_nobody_plays_takes_no_slot_and_loses_none() -> None:
    assert to_park([stream_of(None)], [stream_of(9.0, 0)], {0}) == []
    assert to_park([stream_of(0.0)], [stream_of(None, 0)], {0}) == []


@pytest.mark.parametrize("limit_s", [15.0, inf])
@pytest.mark.parametrize("speed", [2.0, 4.0, 40.0])
def test_three_listeners_on_two_slots_take_turns_of_seconds_and_never_run_dry(speed: float, limit_s: float) -> None:
    """An engine at that many times real time speaks three endless utterances in two slots, for a minute."""
    clock, frame_s, n_turns = Hand(), 0.08, 0
    streams = [stream_of(0.0, clock=clock) for _ in range(3)]
    opened, waiting, paused = streams[:2], streams[2:], set[int]()
    while clock.now < 60.0:
        for slot, stream in enumerate(opened):
            stream.slot = slot
        paused = {slot for slot, stream in enumerate(opened) if stream.must_pause(slot in paused)}
        for parked in to_park(waiting, opened, paused):
            opened[opened.index(parked)], waiting = waiting[0], [parked]
            n_turns += 1
        for slot, stream in enumerate(opened):
            stream.n_queued += slot not in paused
        for stream in streams:
            assert stream.playback is not None
            while stream.n_queued and stream.playback.lead_s <= limit_s:
                stream.playback.wrote(frame_s)
                stream.n_queued -= 1
        clock.now += frame_s / speed
        assert clock.now < 10.0 or min(stream.standing_s for stream in streams) > 0
    assert n_turns < 75
