"""What the reader of a segment gets that loses its slot to another and has one again."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from tests.conftest import REPOSITORY, eventually
from tests.engine_threads import started
from tests.tone import ToneEngine, code, tone
from worker.engine.base import EngineError, EngineSick, Finish, Frames, Resume, Segment
from worker.engine.playback import Playback
from worker.engine.segment_stream import QUEUE_FRAMES, SegmentStream
from worker.voices.card import Card, load_card

FAR_S = 100.0  # a lead that no test's listener plays


@pytest.fixture
def card() -> Card:
    return load_card(REPOSITORY / "voices" / "placeholder")


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
