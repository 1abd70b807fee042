"""Segments whose text is still being written, on their way to the engine's thread."""

from __future__ import annotations

import asyncio
import math

import numpy as np
import pytest

from tests.conftest import REPOSITORY, eventually
from tests.engine_threads import Counting, heard, started
from tests.tone import ToneEngine, tone
from worker.engine.base import EngineError, Finish, Segment
from worker.voices.card import Card, load_card

TEXT = "Text that comes in pieces, some of them late."


@pytest.fixture
def card() -> Card:
    return load_card(REPOSITORY / "voices" / "placeholder").model_copy(update={"text": "streaming"})


def opened(card: Card, text: str) -> Segment:
    return Segment(text, "English", card, seed=1, max_frames=10_000, is_open=True)


def whole(card: Card, text: str = TEXT) -> np.ndarray:
    return np.concatenate([tone(Segment(text, "English", card, 1, 10_000), n) for n in range(math.ceil(len(text) / 2))])


async def test_text_that_comes_in_pieces_is_spoken_as_the_whole(card: Card) -> None:
    async with started(ToneEngine(1)) as thread:
        stream = thread.open(opened(card, ""))
        for n in range(0, len(TEXT), 3):
            stream.extend(TEXT[n : n + 3], False, 10_000)
            await asyncio.sleep(0)
        stream.extend("", True, 10_000)
        pcm, finish = await heard(stream)
    np.testing.assert_array_equal(pcm, whole(card))
    assert finish is Finish.STOP
    assert stream.segment == Segment(TEXT, "English", card, 1, 10_000)


async def test_a_segment_whose_text_has_run_dry_costs_nothing_and_goes_on_at_once(card: Card) -> None:
    engine = Counting(2)
    async with started(engine) as thread:
        stream = thread.open(opened(card, "One two "))
        for _ in range(4):
            await stream.take(1)
        n_waits = engine.n_waits
        await asyncio.sleep(0.3)
        assert engine.n_waits - n_waits < 20
        assert (await heard(thread.open(Segment("Other.", "English", card, 1, 100))))[1] is Finish.STOP
        stream.extend("three", True, 10_000)
        pcm, _ = await heard(stream)
    np.testing.assert_array_equal(pcm, whole(card, "One two three")[4 * 1920 :])


async def test_text_that_comes_while_a_segment_waits_for_a_slot_is_part_of_it_once_it_is_opened(card: Card) -> None:
    engine = ToneEngine(1)
    async with started(engine) as thread:
        first, waiting = thread.open(opened(card, "First")), thread.open(opened(card, TEXT[:5]))
        await eventually(lambda: len(engine.opened) == 1)
        waiting.extend(TEXT[5:9], False, 10_000)
        await asyncio.sleep(0.02)
        first.extend("", True, 10_000)
        await heard(first)
        await eventually(lambda: len(engine.opened) == 2)
        waiting.extend(TEXT[9:], True, 10_000)
        pcm, _ = await heard(waiting)
    np.testing.assert_array_equal(pcm, whole(card))


async def test_text_after_the_end_of_the_speech_is_harmless_and_after_the_end_of_the_text_refused(card: Card) -> None:
    async with started(ToneEngine(1)) as thread:
        cancelled = thread.open(opened(card, "One two"))
        cancelled.cancel()
        cancelled.extend("three", False, 10_000)
        assert (await heard(cancelled))[1] is Finish.CANCELLED
        cancelled.extend("four", True, 10_000)
        complete = thread.open(opened(card, "slow " * 200))
        complete.extend("", True, 10_000)
        with pytest.raises(ValueError, match="complete"):
            complete.extend("more", True, 10_000)
        assert (await heard(complete))[1] is Finish.STOP


async def test_text_that_the_engine_refuses_fails_its_segment_and_no_other(card: Card) -> None:
    class Refusing(ToneEngine):
        def extend(self, slot: int, text: str, is_end: bool, max_frames: int) -> None:
            del self._slots[slot]
            raise EngineError("that text has no letters")

    async with started(Refusing(2)) as thread:
        stream, neighbour = thread.open(opened(card, "One two")), thread.open(opened(card, "slow " * 200))
        await stream.take(1)
        stream.extend("\ud800", False, 10_000)
        with pytest.raises(EngineError, match="no letters"):
            await heard(stream)
        assert (await neighbour.take(1)).n_frames == 1
        assert (await heard(thread.open(Segment("And on.", "English", card, 1, 100))))[1] is Finish.STOP


def test_only_a_streaming_voices_segment_may_be_open(card: Card) -> None:
    with pytest.raises(ValueError, match="whole texts"):
        opened(card.model_copy(update={"text": "whole"}), "One")
