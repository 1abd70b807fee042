"""Which segment has a slot where more wait than there are slots, and what its reader gets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from math import inf

import numpy as np
import pytest

from tests.conftest import REPOSITORY, eventually
from tests.tone import ToneEngine, code, tone
from worker.engine.base import SILENCE, EngineError, EngineSick, Finish, Frames, Resume, Segment
from worker.engine.parking import MARGIN_S, N_ENDS, PATIENCE_S, Turnover, next_to_open, to_park
from worker.engine.playback import Playback
from worker.engine.segment_stream import DANGER_S, QUEUE_FRAMES, SegmentStream
from worker.engine.thread import EngineThread
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


# The engine's thread.


@asynccontextmanager
async def started(engine: ToneEngine) -> AsyncIterator[EngineThread]:
    thread = EngineThread(engine)
    await thread.start([])
    try:
        yield thread
    finally:
        await thread.close()


def ahead(lead_s: float = FAR_S) -> Playback:
    playback = Playback()
    playback.wrote(lead_s)
    return playback


def segment(card: Card, text: str, resume: Resume | None = None) -> Segment:
    return Segment(text, "English", card, seed=1, max_frames=10_000, resume=resume)


def resumed(card: Card, text: str, n: int, has_codes: bool) -> Segment:
    codes = np.array([code(segment(card, text), frame) for frame in range(n)], np.uint16) if has_codes else None
    return segment(card, text, Resume(n, codes))


async def rest_of(stream: SegmentStream, most_frames: int = 12) -> list[Frames]:
    taken: list[Frames] = []
    while not taken or not taken[-1].ended:
        taken.append(await stream.take(most_frames))
    return taken


def check_whole(parts: list[Frames], spoken: Segment, has_codes: bool) -> None:
    """Every frame once, in order, with its samples and codes."""
    n = (len(spoken.text) + 1) // 2
    assert sum(part.n_frames for part in parts) == n
    at = 0
    for part in parts:
        assert part.first_frame == at or not part.n_frames
        at += part.n_frames
    np.testing.assert_array_equal(np.concatenate([part.pcm for part in parts]), tones(spoken, n))
    if has_codes:
        expected = np.array([code(spoken, frame) for frame in range(n)], np.uint16)
        np.testing.assert_array_equal(np.concatenate([part.codes for part in parts]), expected)
    assert parts[-1].finish is Finish.STOP


def tones(spoken: Segment, n: int) -> np.ndarray:
    return np.concatenate([tone(spoken, frame) for frame in range(n)])


@pytest.mark.parametrize("has_codes", [False, True])
@pytest.mark.parametrize("n_resumed", [0, 3, 90])
async def test_a_parked_segment_gives_every_frame_once_also_where_it_was_resumed(
    card: Card, has_codes: bool, n_resumed: int
) -> None:
    engine = ToneEngine(1, frame_s=0.002, has_codes=has_codes)
    text = "a story that goes on and on, " * 8
    spoken = resumed(card, text, n_resumed, has_codes) if n_resumed else segment(card, text)
    async with started(engine) as thread:
        story = thread.open(spoken, ahead())
        parts = [await story.take(2)]
        for n in range(3):
            word = thread.open(segment(card, f"Word {n}."), ahead(0.0))
            check_whole(await rest_of(word), word.segment, has_codes)
            parts.append(await story.take(5))
        parts += await rest_of(story)
    check_whole(parts, spoken, has_codes)
    again = [one for one in engine.opened if one.text == text]
    assert len(again) > 1
    assert [one.resume.n_frames for one in again[1:] if one.resume] == sorted(
        one.resume.n_frames for one in again[1:] if one.resume
    )
    assert all(one.resume and one.resume.n_frames >= n_resumed for one in again[1:])


async def test_a_segment_whose_reader_holds_gives_its_slot_and_wants_it_when_half_is_taken(card: Card) -> None:
    engine = ToneEngine(1)
    async with started(engine) as thread:
        held = thread.open(segment(card, "held " * 100), ahead())
        await eventually(lambda: held.n_queued >= QUEUE_FRAMES)
        word = thread.open(segment(card, "A word."), ahead(0.0))
        check_whole(await rest_of(word), word.segment, False)
        assert len(engine.opened) == 2, "its reader has taken nothing: the free slot is of no use to it"
        check_whole(await rest_of(held), held.segment, False)
        assert [one.text for one in engine.opened] == ["held " * 100, "A word.", "held " * 100]


@pytest.mark.parametrize("has_codes", [False, True])
async def test_a_segment_that_waits_for_text_gives_its_slot_and_wants_it_when_the_text_comes(
    card: Card, has_codes: bool
) -> None:
    card = card.model_copy(update={"text": "streaming"})
    text = "Text that comes in two pieces."
    engine = ToneEngine(1, has_codes=has_codes)
    async with started(engine) as thread:
        written = thread.open(replace(segment(card, text[:12]), is_open=True), Playback())
        parts = [await written.take(1) for _ in range(6)]
        for n in range(2):
            word = thread.open(segment(card, f"Word {n}."), ahead(1.0))
            check_whole(await rest_of(word), word.segment, has_codes)
        assert len(engine.opened) == 3, "it has nothing to speak: the free slot is of no use to it"
        written.extend(text[12:], True, 10_000)
        check_whole(parts + await rest_of(written), segment(card, text), has_codes)


async def test_a_segment_that_is_behind_keeps_its_slot(card: Card) -> None:
    engine = ToneEngine(1, frame_s=0.01)
    async with started(engine) as thread:
        first, second = (
            thread.open(segment(card, "First one."), ahead(1.0)),
            thread.open(segment(card, "Two."), ahead()),
        )
        await asyncio.gather(rest_of(first), rest_of(second))
    assert [one.text for one in engine.opened] == ["First one.", "Two."]


async def test_a_parked_segment_can_be_cancelled_and_the_others_go_on(card: Card) -> None:
    engine = ToneEngine(1, frame_s=0.005)
    async with started(engine) as thread:
        parked = thread.open(segment(card, "parked " * 40), ahead())
        await parked.take(1)
        word = thread.open(segment(card, "some words " * 10), ahead(0.0))
        await word.take(1)
        parked.cancel()
        assert (await rest_of(parked))[-1].finish is Finish.CANCELLED
        parts = await rest_of(word)
        assert parts[-1].finish is Finish.STOP
        assert len(engine.opened) == 2


async def test_an_engine_that_fails_fails_the_open_segment_and_a_parked_one_goes_on(card: Card) -> None:
    engine = ToneEngine(1, frame_s=0.005)
    async with started(engine) as thread:
        parked = thread.open(segment(card, "parked " * 20), ahead())
        parts = [await parked.take(1)]
        word = thread.open(segment(card, "some words " * 10), ahead(0.0))
        await word.take(1)
        engine.fail = 1
        with pytest.raises(EngineError, match="told to fail"):
            await rest_of(word)
        check_whole(parts + await rest_of(parked), parked.segment, False)


async def test_a_sick_engine_fails_a_parked_segment_too(card: Card) -> None:
    engine = ToneEngine(1, frame_s=0.005)
    async with started(engine) as thread:
        parked = thread.open(segment(card, "parked " * 40), ahead())
        await parked.take(1)
        word = thread.open(segment(card, "some words " * 10), ahead(0.0))
        await word.take(1)
        engine.error, engine.fail = RuntimeError("CUDA error: unknown error"), 1
        for stream in (parked, word):
            with pytest.raises(EngineSick):
                await rest_of(stream)


async def test_a_parked_segment_that_nobody_else_competes_with_is_no_hung_engine(card: Card) -> None:
    async with started(ToneEngine(1)) as thread:
        held = thread.open(segment(card, "held " * 100), ahead())
        await eventually(lambda: held.n_queued >= QUEUE_FRAMES)
        await rest_of(thread.open(segment(card, "A word."), ahead(0.0)))
        await asyncio.sleep(0.6)
        assert thread.moves(0.5)
        held.cancel()
        await rest_of(held)
