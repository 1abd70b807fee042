"""The thread that owns the engine, and the bounded queues between it and the event loop.

When a stream's queue is full, its slot is paused: the engine steps without it until the reader has taken half of the
queue. So a slow Redis delays its own utterance and costs no memory. A segment that finds no free slot waits for one, or
takes the slot of a segment that is far ahead of its listener (`worker.engine.parking`). One whose voice is new waits
until it is made, beside the steps (`worker.engine.voice_maker`).

A step that fails loses every open segment. Before their readers get the failure, the engine is probed
(`worker.engine.health`). If it speaks the probe, the segments fail with EngineError and their jobs are retried. If it
is sick, the thread ends and every segment fails with EngineSick: other workers take the jobs over.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic, perf_counter

from worker.engine.base import (
    SILENCE,
    Engine,
    EngineClosed,
    EngineError,
    EngineSick,
    Finish,
    Frames,
    Segment,
    VoiceUnavailable,
)
from worker.engine.health import EngineHealth, close_anyhow, in_a_line, is_beyond_repair
from worker.engine.parking import OPENING_S, Turnover, next_to_open, park
from worker.engine.playback import Playback
from worker.engine.segment_stream import QUEUE_FRAMES, SegmentStream, failure, put_all, to_pause
from worker.engine.voice_maker import VoiceMaker
from worker.voices.card import Card

log = logging.getLogger(__name__)

NAP_S = 0.25  # the longest sleep while a segment is unfinished, and so the longest interval between signs of life
IDLE_S = 5.0  # between two looks at the device while nothing is spoken


class EngineThread:
    """Runs an engine on a thread. Every method is called on the event loop that called `start`."""

    def __init__(self, engine: Engine, on_step: Callable[[float], None] = lambda seconds: None) -> None:
        self._engine = engine
        self._on_step = on_step
        self._changed = threading.Condition()
        self._opening: deque[SegmentStream] = deque()
        self._cancelled: list[SegmentStream] = []
        self._extended: list[SegmentStream] = []
        self._open: dict[int, SegmentStream] = {}  # touched by the engine thread only, as is the next
        self._turnover = Turnover()
        self._n_unfinished = 0
        self._closing = False
        self._moved_at = monotonic()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._voices = VoiceMaker(engine, self._wake)
        self._health = EngineHealth(engine, self._step_probe)
        self._failing: list[SegmentStream] = []  # failed, and not reported to their readers yet

    @property
    def engine(self) -> Engine:
        return self._engine

    @property
    def n_failures(self) -> int:
        """Failures in a row."""
        return self._health.n_failures

    async def start(self, voices: Sequence[Card]) -> None:
        """Start the thread and warm the engine up on it. Raises what the engine raises."""
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._death: asyncio.Future[None] = self._loop.create_future()
        self._first_voices = voices
        self._thread.start()
        await self._ready

    def open(self, segment: Segment, playback: Playback | None = None) -> SegmentStream:
        """Queue a segment for the next free slot. A failure is raised by the stream's `take`. Raises EngineClosed.

        playback: of the segment's utterance; None where nobody plays it.
        """
        stream = SegmentStream(self, segment, playback)
        with self._changed:
            if self._closing or not self._thread.is_alive():
                raise EngineClosed("the engine is closed")
            if not self._n_unfinished:
                self._moved_at = monotonic()  # an idle engine is not a hung one
            if not self._voices.put_aside(stream):
                self._opening.append(stream)
            self._n_unfinished += 1
            self._changed.notify()
        return stream

    def use(self, voices: Sequence[Card]) -> None:
        """Make these voices, the ones in use from now on, beside what is being spoken."""
        self._voices.use(voices)
        self._wake()

    def problem_with(self, voice: Card) -> str | None:
        """Why this engine cannot speak the voice of exactly this card; None also while that is not known yet."""
        return self._voices.problem_with(voice)

    def moves(self, within_s: float) -> bool:
        """Liveness: the engine is idle, or has moved within these seconds. False once it is closed or has died."""
        if self._closing or not self._thread.is_alive():
            return False
        return self._n_unfinished == 0 or monotonic() - self._moved_at <= within_s

    async def died(self) -> None:
        """Wait for ever. Raises EngineSick when the engine is beyond repair and its thread has ended."""
        await self._death

    async def close(self) -> None:
        """Stop the thread and close the engine; open segments fail with EngineClosed."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, 10)

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify()

    # StreamOwner.

    def took(self, stream: SegmentStream, n: int) -> None:
        with self._changed:
            was_full = stream.n_queued >= QUEUE_FRAMES // 2
            stream.n_queued -= n
            if was_full and stream.n_queued < QUEUE_FRAMES // 2:
                self._changed.notify()

    def cancel(self, stream: SegmentStream) -> None:
        with self._changed:
            self._cancelled.append(stream)
            self._changed.notify()

    def extend(self, stream: SegmentStream) -> None:
        with self._changed:
            self._extended.append(stream)
            self._changed.notify()

    # The engine's thread.

    def _run(self) -> None:
        if not self._warm_up():
            return
        end: EngineClosed = EngineClosed("the engine was closed")
        try:
            self._serve()
        except EngineSick as error:
            end = error
        except Exception as error:
            log.exception("the engine's thread has died")
            end = EngineSick(in_a_line(error))
        with self._changed:
            self._closing = True
            unfinished = [*self._failing, *self._open.values(), *self._opening, *self._voices.end()]
        if isinstance(end, EngineSick):
            self._loop.call_soon_threadsafe(_fail, self._death, end)
        self._deliver([(stream, failure(end)) for stream in unfinished])
        self._voices.join(is_hurried=isinstance(end, EngineSick))
        close_anyhow(self._engine)

    def _serve(self) -> None:
        paused: set[int] = set()
        while self._await_work(paused):
            if not self._open:
                self._engine.check_device()
            self._settle_voices()
            self._apply_cancels()
            self._apply_extensions()
            self._open_waiting()
            paused = to_pause(self._open, paused)
            park(self._engine, self._open, self._waiting(), paused, self._turnover.interval_s(monotonic()))
            if self._open and self._engine.wait_s(paused) <= 0:
                self._step(paused)

    def _warm_up(self) -> bool:
        try:
            self._engine.warm_up(self._first_voices)
            self._voices.check_now(self._first_voices)
            self._health.choose_probe(self._voices.speakable)
        except Exception as error:
            why = EngineSick(in_a_line(error)) if is_beyond_repair(error) else error
            self._loop.call_soon_threadsafe(_fail, self._ready, why)
            close_anyhow(self._engine)
            return False
        self._loop.call_soon_threadsafe(self._ready.set_result, None)
        return True

    def _await_work(self, paused: set[int]) -> bool:
        """Sleep until there may be something to do; False when the thread is to end."""
        with self._changed:
            self._moved_at = monotonic()
            can_open = len(self._open) < self._engine.n_slots and next_to_open(self._opening) is not None
            if not (self._closing or can_open or self._cancelled or self._extended or self._voices.has_news):
                wait_s = self._engine.wait_s(to_pause(self._open, paused)) if self._open else math.inf
                if wait_s > 0:
                    is_busy = self._open or self._opening or self._voices.is_awaited
                    self._changed.wait(min(wait_s, NAP_S) if is_busy else IDLE_S)
                    self._moved_at = monotonic()
            return not self._closing

    def _settle_voices(self) -> None:
        if not self._voices.has_news:
            return
        ready, failed = self._voices.settle()
        with self._changed:
            self._opening += ready
        self._deliver([(stream, failure(error)) for stream, error in failed])
        self._health.choose_probe(self._voices.speakable)

    def _apply_cancels(self) -> None:
        with self._changed:
            cancelled, self._cancelled = self._cancelled, []
            waiting = [stream for stream in cancelled if stream in self._opening]
            for stream in waiting:
                self._opening.remove(stream)
        unopened = [*waiting, *(stream for stream in cancelled if self._voices.forget(stream))]
        self._deliver([(stream, Frames(-1, 0, SILENCE, finish=Finish.CANCELLED)) for stream in unopened])
        for stream in cancelled:
            if stream.slot is not None and self._open.get(stream.slot) is stream:
                self._engine.cancel(stream.slot)

    def _apply_extensions(self) -> None:
        """Give the engine the new text of open segments. A stream that waits for a slot is opened with all its text."""
        with self._changed:
            extended, self._extended = self._extended, []
        for stream in extended:
            if stream.slot is None or self._open.get(stream.slot) is not stream:
                continue
            try:
                self._engine.extend(stream.slot, *stream.new_text())
            except Exception as error:
                log.exception("the engine failed to extend a segment")
                self._failing.append(self._open.pop(stream.slot))
                self._report_failing(error)

    def _open_waiting(self) -> None:
        until = monotonic() + OPENING_S
        while monotonic() < until and len(self._open) < self._engine.n_slots and (stream := self._take_waiting()):
            try:
                stream.slot = self._engine.open(stream.to_open())
            except Exception as error:
                if isinstance(error, VoiceUnavailable) and not is_beyond_repair(error):
                    self._deliver([(stream, failure(error))])
                    continue
                log.exception("the engine failed to open a segment")
                self._failing.append(stream)
                self._report_failing(error)
            else:
                self._open[stream.slot] = stream

    def _waiting(self) -> list[SegmentStream]:
        with self._changed:
            return list(self._opening)

    def _take_waiting(self) -> SegmentStream | None:
        with self._changed:
            stream = next_to_open(self._opening)
            if stream is not None:
                self._opening.remove(stream)
            return stream

    def _step(self, paused: set[int]) -> None:
        began = perf_counter()
        try:
            stepped = self._engine_step(paused)
        except Exception as error:
            self._on_step(perf_counter() - began)
            log.exception("the engine failed in a step, with %d segments open", len(self._failing))
            self._report_failing(error)
            return
        self._on_step(perf_counter() - began)
        if (failed := self._hand_on(stepped)) is not None:
            self._report_failing(failed)

    def _engine_step(self, paused: set[int]) -> list[Frames]:
        """Step the engine. When that raises, every open segment is failing."""
        try:
            return self._engine.step(paused)
        except Exception:
            self._failing += self._open.values()
            self._open.clear()
            raise
        finally:
            self._moved_at = monotonic()

    def _step_probe(self) -> list[Frames]:
        """One step in which every open slot is paused; only the probe advances."""
        stepped = self._engine_step(set(self._open))
        self._hand_on(stepped)
        return stepped

    def _hand_on(self, stepped: list[Frames]) -> EngineError | None:
        """Deliver frames to their readers, but not yet the failures; returns the last failure."""
        delivered: list[tuple[SegmentStream, Frames]] = []
        error: EngineError | None = None
        self._turnover.count(stepped, monotonic())
        for frames in stepped:
            stream = self._open.get(frames.slot)
            if stream is None:  # the probe, or the end of a segment that failed before
                continue
            if frames.ended:
                del self._open[frames.slot]
            if frames.finish is Finish.CANCELLED and not stream.is_cancelled:  # its slot was taken from it
                stream.is_parking = False
                with self._changed:
                    self._opening.append(stream)
                continue
            if frames.error is None or isinstance(frames.error, VoiceUnavailable):
                delivered += [] if (new := stream.new_in(frames)) is None else [(stream, new)]
            else:
                self._failing.append(stream)
                error = frames.error
        if any(frames.pcm.size for _, frames in delivered):
            self._health.has_spoken()
        self._deliver(delivered)
        return error

    def _report_failing(self, error: Exception) -> None:
        """Deliver the failures once the engine has spoken the probe. Raises EngineSick."""
        self._health.check_after(error)
        failed, self._failing = self._failing, []
        self._deliver([(stream, failure(error)) for stream in failed])

    def _deliver(self, delivered: list[tuple[SegmentStream, Frames]]) -> None:
        if not delivered:
            return
        with self._changed:
            for stream, frames in delivered:
                stream.n_queued += frames.n_frames
                self._n_unfinished -= frames.ended
        self._loop.call_soon_threadsafe(put_all, delivered)


def _fail(future: asyncio.Future[None], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # asyncio warns of an exception that was never retrieved
