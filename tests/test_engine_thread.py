"""The engine's thread: who waits for whom, and what happens to segments when something goes wrong."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import replace

import numpy as np
import pytest

from tests.conftest import eventually
from tests.tone import ToneEngine, tone
from worker.engine import thread as thread_module
from worker.engine.base import EngineClosed, EngineError, EngineSick, Finish, Frames, Segment
from worker.engine.segment_stream import QUEUE_FRAMES, SegmentStream
from worker.engine.thread import EngineThread
from worker.voices.card import Card


@asynccontextmanager
async def started(engine: ToneEngine) -> AsyncIterator[EngineThread]:
    thread = EngineThread(engine)
    await thread.start([])
    try:
        yield thread
    finally:
        await thread.close()
        assert engine.is_closed


def segment(card: Card, text: str, max_frames: int = 10_000) -> Segment:
    return Segment(text, "English", card, seed=1, max_frames=max_frames)


async def heard(stream: SegmentStream, most_frames: int = 4) -> tuple[np.ndarray, Finish | None]:
    parts = []
    while True:
        frames = await stream.take(most_frames)
        assert len(frames.pcm) <= most_frames * 1920
        parts.append(frames.pcm)
        if frames.ended:
            return np.concatenate(parts), frames.finish


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


async def test_an_engine_that_hangs_in_a_step_is_seen_to(card: Card) -> None:
    engine = Counting(1)
    async with started(engine) as thread:
        engine.may_step.clear()
        stream = thread.open(segment(card, "Hello."))
        await eventually(lambda: not thread.moves(0.1))
        engine.may_step.set()
        await heard(stream)
        assert thread.moves(0.1)


async def test_a_failed_step_fails_what_was_open_and_no_more(card: Card) -> None:
    engine = ToneEngine(2, frame_s=0.01)
    async with started(engine) as thread:
        streams = [thread.open(segment(card, "A failing sentence.")) for _ in range(2)]
        await streams[0].take(1)
        engine.fail = 1
        for stream in streams:
            with pytest.raises(EngineError, match="told to fail"):
                await heard(stream)
        assert thread.n_failures in (0, 1)
        assert (await heard(thread.open(segment(card, "Better."))))[1] is Finish.STOP
        assert thread.n_failures == 0


async def test_a_thread_that_dies_fails_every_segment_and_says_so(card: Card) -> None:
    engine = Counting(1, frame_s=0.05)
    async with started(engine) as thread:
        stream, waiting = thread.open(segment(card, "Hello there.")), thread.open(segment(card, "Waits."))
        await stream.take(1)
        engine.breaks = True
        for one in (stream, waiting):
            with pytest.raises(EngineError, match="broken beyond repair"):
                await heard(one)
        with pytest.raises(EngineSick, match="broken beyond repair"):
            await thread.died()
        await eventually(lambda: not thread.moves(10))
        with pytest.raises(EngineClosed):
            thread.open(segment(card, "Too late."))


class OutOfMemoryError(RuntimeError):
    """As torch's, by name and words."""


class AcceleratorError(RuntimeError):
    """As torch's, by name."""


def _raised_from(cause: Exception) -> EngineError:
    error = EngineError("a step of the model failed")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be …"),
        RuntimeError("CUDA error: device-side assert triggered"),
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(…)`"),
        RuntimeError("CUDA driver error: unknown error"),
        AcceleratorError("unspecified launch failure"),
        _raised_from(RuntimeError("CUDA error: uncorrectable ECC error encountered")),
    ],
    ids=str,
)
async def test_a_cuda_error_ends_the_thread_at_once_and_every_segment_is_for_others(
    card: Card, error: Exception
) -> None:
    engine = ToneEngine(2, frame_s=0.01)
    thread = EngineThread(engine)
    await thread.start([card])
    streams = [thread.open(segment(card, "A failing sentence.")) for _ in range(3)]
    await streams[0].take(1)
    n_opened = len(engine.opened)
    engine.error, engine.fail = error, 1
    for stream in streams:
        with pytest.raises(EngineSick):
            await heard(stream)
    with pytest.raises(EngineSick):
        await thread.died()
    assert len(engine.opened) == n_opened, "a broken GPU is asked for nothing more"
    assert not thread.moves(10)
    with pytest.raises(EngineClosed):
        thread.open(segment(card, "Too late."))
    await thread.close()


@pytest.mark.parametrize(
    "error",
    [
        OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        ValueError("a text about a CUDA error"),
        EngineError("told to fail"),
    ],
    ids=str,
)
@pytest.mark.parametrize("n_failures", [1, 2])
async def test_an_engine_that_speaks_a_known_sentence_after_a_failure_is_well_and_its_segments_fail(
    card: Card, error: Exception, n_failures: int
) -> None:
    engine = ToneEngine(2, frame_s=0.01)
    thread = EngineThread(engine)
    await thread.start([card])
    stream = thread.open(segment(card, "A failing sentence."))
    await stream.take(1)
    engine.error, engine.fail = error, n_failures
    with pytest.raises(EngineError) as caught:
        await heard(stream)
    assert not isinstance(caught.value, EngineSick)
    assert (await heard(thread.open(segment(card, "Better."))))[1] is Finish.STOP
    assert thread.n_failures == 0
    await thread.close()


@pytest.mark.parametrize("call", ["extend", "cancel", "open", "wait_s"])
async def test_a_cuda_error_outside_of_a_step_ends_the_thread_too(
    call: str, card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    engine, streaming = ToneEngine(3, frame_s=0.01), card.model_copy(update={"text": "streaming"})
    thread = EngineThread(engine)
    await thread.start([card])
    opened = replace(segment(streaming, "A text that goes on."), is_open=True)
    growing, cancelled = thread.open(opened), thread.open(segment(card, "long " * 500))
    await asyncio.gather(growing.take(1), cancelled.take(1))
    monkeypatch.setattr(engine, call, broken)
    if call == "cancel":
        cancelled.cancel()
    growing.extend(" And on.", False, 10_000)
    streams = [growing, cancelled, thread.open(segment(card, "Waits."))]
    for stream in streams:
        with pytest.raises(EngineSick):
            await heard(stream)
    with pytest.raises(EngineSick, match="illegal memory access"):
        await thread.died()
    await thread.close()


async def test_a_probe_that_hangs_is_a_hung_engine_and_its_segments_are_not_reported_yet(card: Card) -> None:
    engine = Counting(2, frame_s=0.01)
    thread = EngineThread(engine)
    await thread.start([card])
    stream = thread.open(segment(card, "A failing sentence."))
    await stream.take(1)
    n_opened = len(engine.opened)
    engine.hangs_after = 1  # step: the one that fails
    engine.fail = 1
    await eventually(lambda: len(engine.opened) > n_opened and not thread.moves(0.1))
    reading = asyncio.create_task(heard(stream))
    assert not reading.done()
    engine.may_step.set()
    with pytest.raises(EngineError, match="told to fail"):
        await reading
    assert (await heard(thread.open(segment(card, "Better."))))[1] is Finish.STOP
    await thread.close()


async def test_three_failures_in_a_row_end_the_thread_also_where_the_first_was_a_lack_of_memory(card: Card) -> None:
    engine = ToneEngine(2, frame_s=0.01)
    thread = EngineThread(engine)
    await thread.start([card])
    stream = thread.open(segment(card, "A failing sentence."))
    await stream.take(1)
    engine.error, engine.fail = OutOfMemoryError("CUDA out of memory"), 3
    with pytest.raises(EngineSick, match=r"3 failures in a row.*OutOfMemoryError: CUDA out of memory"):
        await heard(stream)
    await thread.close()


async def test_a_slot_that_fails_alone_leaves_its_neighbour_speaking(card: Card) -> None:
    class OneSlotFails(ToneEngine):
        def step(self, paused: Collection[int] = ()) -> list[Frames]:
            stepped = super().step(paused)
            for n, slot in list(self._slots.items()):
                if slot.segment.text == "fails" and n not in paused:
                    del self._slots[n]
                    stepped = [frames for frames in stepped if frames.slot != n]
                    stepped.append(Frames(n, 0, np.zeros(0, np.float32), error=EngineError("this one")))
            return stepped

    thread = EngineThread(OneSlotFails(2))
    await thread.start([card])
    spoken = segment(card, "The neighbour speaks on, and to the last sample. " * 5)
    neighbour = thread.open(spoken)
    for _ in range(4):
        with pytest.raises(EngineError, match="this one"):
            await heard(thread.open(segment(card, "fails")))
    pcm, finish = await heard(neighbour)
    assert (len(pcm), finish) == ((len(spoken.text) + 1) // 2 * 1920, Finish.STOP)
    await thread.close()


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


async def test_a_failing_warm_up_ends_the_start_and_closes_the_engine() -> None:
    class Cold(ToneEngine):
        def warm_up(self, voices: object) -> None:
            raise EngineError("no weights in ./model; fetch them first")

    engine = Cold(1)
    with pytest.raises(EngineError, match="fetch them"):
        await EngineThread(engine).start([])
    await eventually(lambda: engine.is_closed)


async def test_a_cuda_error_at_warm_up_is_a_sick_engine_and_one_that_cannot_even_be_closed() -> None:
    class Broken(ToneEngine):
        def warm_up(self, voices: object) -> None:
            raise RuntimeError("CUDA error: no kernel image is available for execution on the device")

        def close(self) -> None:
            raise RuntimeError("CUDA error: no kernel image is available for execution on the device")

    thread = EngineThread(Broken(1))
    with pytest.raises(EngineSick, match="no kernel image"):
        await thread.start([])
    await thread.close()


async def test_a_device_that_fails_while_nothing_is_spoken_ends_the_thread_before_a_job_finds_it(
    card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thread_module, "IDLE_S", 0.01)
    engine = ToneEngine(1)
    thread = EngineThread(engine)
    await thread.start([card])
    engine.device_error = RuntimeError("CUDA error: unspecified launch failure")
    with pytest.raises(EngineSick, match="unspecified launch failure"):
        await thread.died()
    assert engine.opened == []
    await thread.close()


class Counting(ToneEngine):
    """Counts its waits, can hang in a step, and can break for good."""

    def __init__(self, n_slots: int, frame_s: float = 0.0) -> None:
        super().__init__(n_slots, frame_s)
        self.n_waits = 0
        self.may_step = threading.Event()
        self.may_step.set()
        self.breaks = False
        self.hangs_after: int | None = None  # steps, until `may_step` is set

    def step(self, paused: Collection[int] = ()) -> list[Frames]:
        if self.hangs_after is not None:
            if not self.hangs_after:
                self.may_step.clear()
            self.hangs_after = None if not self.hangs_after else self.hangs_after - 1
        self.may_step.wait()
        return super().step(paused)

    def wait_s(self, paused: Collection[int] = ()) -> float:
        if self.breaks:
            raise RuntimeError("broken beyond repair")
        self.n_waits += 1
        return super().wait_s(paused)


@pytest.fixture
def card() -> Card:
    from tests.conftest import REPOSITORY
    from worker.voices.card import load_card

    return load_card(REPOSITORY / "voices" / "placeholder")
