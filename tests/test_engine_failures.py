"""The engine's thread when its engine fails, hangs or breaks: whose segments fail, and when the thread ends."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import replace

import numpy as np
import pytest

from tests.conftest import eventually
from tests.engine_threads import Counting, heard, segment, started
from tests.tone import ToneEngine
from worker.engine import thread as thread_module
from worker.engine.base import EngineClosed, EngineError, EngineSick, Finish, Frames
from worker.engine.thread import EngineThread
from worker.voices.card import Card


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


@pytest.fixture
def card() -> Card:
    from tests.conftest import REPOSITORY
    from worker.voices.card import load_card

    return load_card(REPOSITORY / "voices" / "placeholder")
