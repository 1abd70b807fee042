"""Voices that come by a reload: made while others are spoken, awaited by their own segments alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.conftest import REPOSITORY, eventually
from tests.engine_threads import heard
from tests.tone import ToneEngine
from worker.engine.base import EngineClosed, EngineSick, Finish, Segment, VoiceUnavailable
from worker.engine.thread import EngineThread
from worker.voices.card import Card, load_card

FIRST = load_card(REPOSITORY / "voices" / "placeholder")


class Encoding(ToneEngine):
    """Encodes a voice that it does not have, slowly: it waits for `may_end`, for two seconds at most."""

    def __init__(self, n_slots: int = 2, frame_s: float = 0.0) -> None:
        super().__init__(n_slots, frame_s)
        self.made: list[str] = [FIRST.name]
        self.begun: list[str] = []
        self.may_end = threading.Event()
        self.errors: dict[str, Exception] = {}

    def has_voice(self, voice: Card) -> bool:
        return voice.name in self.made

    def check(self, voice: Card) -> None:
        if self.has_voice(voice):
            return
        assert threading.current_thread().name != "engine"
        self.begun.append(voice.name)
        self.may_end.wait(2)
        if voice.name in self.errors:
            raise self.errors[voice.name]
        self.made.append(voice.name)

    def open(self, segment: Segment) -> int:
        assert self.has_voice(segment.voice)
        return super().open(segment)


@pytest.fixture
def engine() -> Encoding:
    return Encoding()


@asynccontextmanager
async def started(engine: Encoding) -> AsyncIterator[EngineThread]:
    thread = EngineThread(engine)
    await thread.start([FIRST])
    try:
        yield thread
    finally:
        engine.may_end.set()
        await thread.close()


def card(name: str, **changes: object) -> Card:
    return FIRST.model_copy(update={"name": name, **changes})


def segment(voice: Card, text: str = "A text of some length.") -> Segment:
    return Segment(text, "English", voice, seed=1, max_frames=10_000)


async def test_frames_come_while_a_voice_is_made_and_its_segment_waits_for_it(engine: Encoding) -> None:
    async with started(engine) as thread:
        new = card("new")
        thread.use([FIRST, new])
        waits = thread.open(segment(new))
        await eventually(lambda: engine.begun == ["new"])
        for _ in range(3):
            assert (await heard(thread.open(segment(FIRST))))[1] is Finish.STOP
        assert waits.n_queued == 0
        assert "new" not in engine.made
        engine.may_end.set()
        assert (await heard(waits))[1] is Finish.STOP
    assert engine.begun == ["new"]


async def test_a_waiting_voice_takes_no_slot(engine: Encoding) -> None:
    async with started(engine) as thread:
        waiting = [thread.open(segment(card("new"))) for _ in range(3)]
        assert (await heard(thread.open(segment(FIRST))))[1] is Finish.STOP
        engine.may_end.set()
        results = await asyncio.gather(*map(heard, waiting))
    assert {finish for _, finish in results} == {Finish.STOP}


async def test_of_many_new_voices_the_awaited_one_is_made_next_and_all_are_made(engine: Encoding) -> None:
    async with started(engine) as thread:
        cards = [card(name) for name in ("a", "b", "c", "d")]
        thread.use(cards)
        await eventually(lambda: engine.begun == ["a"])
        waits = thread.open(segment(cards[3]))
        engine.may_end.set()
        await heard(waits)
        await eventually(lambda: len(engine.made) == 5)
    assert engine.begun == ["a", "d", "b", "c"]


async def test_another_reload_meanwhile_forgets_no_segment_that_waits(engine: Encoding) -> None:
    async with started(engine) as thread:
        thread.use([FIRST, card("a"), card("b")])
        await eventually(lambda: engine.begun == ["a"])
        waits = thread.open(segment(card("b")))
        thread.use([FIRST])
        engine.may_end.set()
        assert (await heard(waits))[1] is Finish.STOP


async def test_a_voice_that_cannot_be_made_ends_its_segments_alone_with_the_reason(engine: Encoding) -> None:
    bad, good = card("bad"), card("good")
    engine.errors["bad"] = VoiceUnavailable("bad: the recording cannot be encoded", "save it as 24 kHz mono WAV")
    async with started(engine) as thread:
        thread.use([FIRST, bad, good])
        waits, waits_too, speaks = (thread.open(segment(voice)) for voice in (bad, bad, good))
        assert thread.problem_with(bad) is None
        engine.may_end.set()
        for one in (waits, waits_too):
            with pytest.raises(VoiceUnavailable, match="24 kHz"):
                await heard(one)
        assert "24 kHz" in str(thread.problem_with(bad))
        assert (await heard(speaks))[1] is Finish.STOP
        mended = card("bad", description="mended")
        assert thread.problem_with(mended) is None, "it is of another card"
        del engine.errors["bad"]
        thread.use([FIRST, mended])
        assert (await heard(thread.open(segment(mended))))[1] is Finish.STOP


@pytest.mark.parametrize(
    "error",
    [RuntimeError("CUDA error: an illegal memory access"), VoiceUnavailable("cannot be encoded"), KeyError("bug")],
    ids=["cuda", "cuda beneath a voice's problem", "unexpected"],
)
async def test_an_encoder_that_loses_the_gpu_or_fails_unexpectedly_ends_the_thread(
    error: Exception, engine: Encoding
) -> None:
    if isinstance(error, VoiceUnavailable):
        error.__cause__ = RuntimeError("CUDA error: unknown error")
    engine.errors["bad"] = error
    async with started(engine) as thread:
        speaking, waits = thread.open(segment(FIRST, "long " * 500)), thread.open(segment(card("bad")))
        engine.may_end.set()
        for one in (speaking, waits):
            with pytest.raises(EngineSick):
                await heard(one)
        with pytest.raises(EngineSick):
            await thread.died()


async def test_a_sick_encoder_fails_also_the_segment_whose_voice_was_made_just_before(engine: Encoding) -> None:
    engine.errors["bad"] = RuntimeError("CUDA error: an illegal memory access")
    async with started(engine) as thread:
        maker = thread._voices
        waits = [thread.open(segment(card(name))) for name in ("good", "bad")]
        with maker._lock:  # both are known at one look
            engine.made.append("good")
            maker._done += [(card("good"), None), (card("bad"), engine.errors["bad"])]
        engine.may_end.set()
        for one in waits:
            with pytest.raises(EngineSick):
                await heard(one)


async def test_a_segment_that_is_cancelled_while_its_voice_is_made_ends_at_once(engine: Encoding) -> None:
    async with started(engine) as thread:
        waits = thread.open(segment(card("new")))
        waits.cancel()
        assert (await heard(waits))[1] is Finish.CANCELLED
        assert engine.made == [FIRST.name]


async def test_an_engine_is_not_taken_for_hung_while_a_voice_is_made(engine: Encoding) -> None:
    async with started(engine) as thread:
        thread.open(segment(card("new")))
        for _ in range(2):
            before = thread._moved_at
            await eventually(lambda before=before: thread._moved_at > before)  # type: ignore[misc]
        assert engine.made == [FIRST.name]


async def test_a_close_while_a_voice_is_made_ends_its_segment_and_waits_for_the_encoder(engine: Encoding) -> None:
    thread = EngineThread(engine)
    await thread.start([FIRST])
    waits = thread.open(segment(card("a")))
    thread.use([FIRST, card("a"), card("b")])
    await eventually(lambda: engine.begun == ["a"])
    closing = asyncio.create_task(thread.close())
    with pytest.raises(EngineClosed):
        await heard(waits)
    assert not engine.is_closed
    engine.may_end.set()
    await closing
    assert engine.is_closed
    assert engine.begun == ["a"], "no other voice is begun"


async def test_cards_handed_over_while_others_are_checked_are_checked_too() -> None:
    class Reloading(ToneEngine):
        thread: EngineThread | None = None

        def check(self, voice: Card) -> None:
            if self.thread is not None and voice.name == "first":
                reload = threading.Thread(target=self.thread.use, args=([card("second")],))
                reload.start()
                reload.join()
            super().check(voice)

    engine = Reloading(1)
    engine.refused = {"second"}
    engine.thread = EngineThread(engine)
    await engine.thread.start([FIRST])
    engine.thread.use([card("first")])
    await eventually(lambda: engine.thread is not None and engine.thread.problem_with(card("second")) is not None)
    await engine.thread.close()
