"""The engine's thread: who waits for whom, and what its readers are given."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from tests.conftest import eventually
from tests.engine_threads import Counting, heard, segment, started
from tests.tone import ToneEngine, tone
from worker.engine.base import EngineClosed, Finish
from worker.engine.segment_stream import QUEUE_FRAMES
from worker.voices.card import Card


async def test_frames_come_whole_and_in_order_however_many_are_taken_at_a_time(card: Card) -> None:
    spoken = segment(card, "A text of some length, for some frames.")
    expected = np.concatenate([tone(spoken, frame) for frame in range((len(spoken.text) + 1) // 2)])
    async with started(ToneEngine(2)) as thread:
        for most in (1, 2, 3, 12):
            pcm, finish = await heard(thread.open(spoken), most)
            assert finish is Finish.STOP
            np.testing.assert_array_equal(pcm, expected)


async def test_a_segment_waits_for_a_slot_and_is_spoken_then(card: Card) -> None:
    async with started(ToneEngine(1, frame_s=0.005)) as thread:
        first, second = thread.open(segment(card, "First one.")), thread.open(segment(card, "Second."))
        results = await asyncio.gather(heard(first), heard(second))
    assert [finish for _, finish in results] == [Finish.STOP, Finish.STOP]


async def test_waiting_for_a_slot_or_for_time_costs_no_processor_time(card: Card) -> None:
    engine = Counting(1, frame_s=0.2)
    async with started(engine) as thread:
        streams = [thread.open(segment(card, "One two.")) for _ in range(2)]
        await streams[0].take(1)
        n_waits = engine.n_waits
        await asyncio.sleep(0.5)
        assert engine.n_waits - n_waits < 40, "it asks when it wakes, and does not spin"


async def test_a_reader_that_is_behind_holds_its_own_slot_alone(card: Card) -> None:
    async with started(ToneEngine(2)) as thread:
        slow = thread.open(segment(card, "slow " * 200))
        await eventually(lambda: slow.n_queued >= QUEUE_FRAMES)
        pcm, _ = await heard(thread.open(segment(card, "quick " * 100)))
        assert len(pcm) == 300 * 1920
        await asyncio.sleep(0.05)
        assert slow.n_queued == QUEUE_FRAMES
        pcm, finish = await heard(slow)
        assert (len(pcm), finish) == (500 * 1920, Finish.STOP)


async def test_a_cancelled_segment_ends_as_cancelled_open_held_or_waiting(card: Card) -> None:
    async with started(ToneEngine(1)) as thread:
        paused, waiting = thread.open(segment(card, "long " * 200)), thread.open(segment(card, "Never."))
        await eventually(lambda: paused.n_queued >= QUEUE_FRAMES)
        waiting.cancel()
        pcm, finish = await heard(waiting)
        assert (len(pcm), finish) == (0, Finish.CANCELLED)
        paused.cancel()
        paused.cancel()
        assert (await heard(paused))[1] is Finish.CANCELLED
        assert (await heard(thread.open(segment(card, "And on."))))[1] is Finish.STOP
        with pytest.raises(EngineClosed, match="ended"):
            await paused.take(1)


async def test_an_engine_that_was_idle_for_long_is_not_taken_for_hung_when_it_is_asked_to_speak(card: Card) -> None:
    async with started(Counting(1)) as thread:
        await asyncio.sleep(0.3)
        assert thread.moves(0.2)
        thread.open(segment(card, "Hello."))
        assert thread.moves(0.2)


async def test_a_closed_engine_ends_its_segments_and_takes_no_more(card: Card) -> None:
    async with started(ToneEngine(1, frame_s=0.05)) as thread:
        stream, waiting = thread.open(segment(card, "A long text to speak.")), thread.open(segment(card, "Waits."))
        await stream.take(1)
        await thread.close()
        for one in (stream, waiting):
            with pytest.raises(EngineClosed):
                await heard(one)
        with pytest.raises(EngineClosed):
            thread.open(segment(card, "Too late."))


@pytest.fixture
def card() -> Card:
    from tests.conftest import REPOSITORY
    from worker.voices.card import load_card

    return load_card(REPOSITORY / "voices" / "placeholder")
