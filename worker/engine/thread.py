"""The one thread that owns the engine, and the bounded queues between it and the event loop.

Policy of a full queue: its slot is paused (the engine steps without it) until the reader has taken half of the queue,
so a slow Redis delays its own utterance and costs no memory. An open that finds no free slot waits for one.

A step that fails loses every open segment. Before their readers learn of it the engine is asked for a known sentence
(`worker.engine.sickness`): when it speaks that, the segments fail with EngineError and their jobs are tried again; when
it is sick, the thread ends, and every segment fails with EngineSick: other workers speak their jobs.
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
from worker.engine.segment_stream import SegmentStream, failure, put_all
from worker.engine.sickness import PROBE_STEPS, SICK_AFTER, in_a_line, is_beyond_repair, probe_of
from worker.voices.card import Card

log = logging.getLogger(__name__)

QUEUE_FRAMES = 64
NAP_S = 0.25  # the longest sleep with a slot open: how often the thread shows that it is alive


class EngineThread:
    """Runs an engine. `open`, `close` and every SegmentStream belong to the event loop that called `start`."""

    def __init__(self, engine: Engine, on_step: Callable[[float], None] = lambda seconds: None) -> None:
        self._engine = engine
        self._on_step = on_step
        self._changed = threading.Condition()
        self._opening: deque[SegmentStream] = deque()
        self._cancelled: list[SegmentStream] = []
        self._open: dict[int, SegmentStream] = {}  # touched by the engine thread only
        self._n_unfinished = 0
        self._closing = False
        self._moved_at = monotonic()
        self._ready: asyncio.Future[None] | None = None
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._to_check: list[Card] = []
        self._probe: Segment | None = None  # the known sentence
        self._blamed: list[SegmentStream] = []  # failed, and not told yet
        self.refusals: dict[str, str] = {}  # voice -> why this engine cannot speak it
        self.n_failures = 0  # failures in a row

    @property
    def engine(self) -> Engine:
        return self._engine

    async def start(self, voices: Sequence[Card]) -> None:
        """Start the thread and warm the engine up on it. Raises what the engine raises."""
        self._loop = asyncio.get_running_loop()
        self._ready = self._loop.create_future()
        self._death: asyncio.Future[None] = self._loop.create_future()
        self._voices = voices
        with self._changed:
            self._to_check = list(voices)
        self._thread.start()
        await self._ready

    def open(self, segment: Segment) -> SegmentStream:
        """Have a segment spoken as soon as a slot is free; a refusal comes out of the SegmentStream."""
        if self._closing or not self._thread.is_alive():
            raise EngineClosed("the engine is closed")
        stream = SegmentStream(self, segment)
        with self._changed:
            if not self._n_unfinished:
                self._moved_at = monotonic()  # it was idle until now, and not hung
            self._opening.append(stream)
            self._n_unfinished += 1
            self._changed.notify()
        return stream

    def check(self, voices: Sequence[Card]) -> None:
        """Find out again which voices the engine refuses, after the cards have changed."""
        with self._changed:
            self._to_check = list(voices)
            self._changed.notify()

    def moves(self, within_s: float) -> bool:
        """True when the engine is idle, or was seen to move that recently; False when it is closed or has died."""
        if self._closing or not self._thread.is_alive():
            return False
        return self._n_unfinished == 0 or monotonic() - self._moved_at <= within_s

    async def died(self) -> None:
        """Never return; raise EngineSick when the engine is beyond repair and its thread has ended."""
        await self._death

    async def close(self) -> None:
        """Stop the thread and close the engine; open segments fail with EngineClosed."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, 10)

    # Called by SegmentStream, on the event loop.

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
            unfinished = [*self._blamed, *self._open.values(), *self._opening]
        if isinstance(end, EngineSick):
            self._loop.call_soon_threadsafe(self._die, end)
        self._deliver([(stream, failure(end)) for stream in unfinished])
        try:
            self._engine.close()
        except Exception:  # a GPU that is lost cannot even be left in order
            log.warning("the engine could not be closed", exc_info=True)

    def _die(self, error: EngineSick) -> None:
        if not self._death.done():
            self._death.set_exception(error)
            self._death.exception()  # seen, also where nobody waits for it

    def _serve(self) -> None:
        paused: set[int] = set()
        while self._await_work(paused):
            self._check_voices()
            self._apply_cancels()
            self._open_waiting()
            paused = self._full(paused)
            if self._open and self._engine.wait_s(paused) <= 0:
                self._step(paused)

    def _warm_up(self) -> bool:
        assert self._ready is not None
        try:
            self._engine.warm_up(self._voices)
            self._check_voices()
        except Exception as error:
            self._engine.close()
            self._loop.call_soon_threadsafe(self._ready.set_exception, error)
            return False
        self._loop.call_soon_threadsafe(self._ready.set_result, None)
        return True

    def _await_work(self, paused: set[int]) -> bool:
        """Sleep until there may be something to do; False when the thread shall end."""
        with self._changed:
            self._moved_at = monotonic()
            can_open = self._opening and len(self._open) < self._engine.n_slots
            if not (self._closing or can_open or self._cancelled or self._to_check):
                wait_s = self._engine.wait_s(self._full(paused)) if self._open else math.inf
                if wait_s > 0:
                    self._changed.wait(min(wait_s, NAP_S) if self._open else None)
                    self._moved_at = monotonic()
            return not self._closing

    def _check_voices(self) -> None:
        with self._changed:
            voices, self._to_check = self._to_check, []
        if not voices:
            return
        refusals = {}
        for voice in voices:
            try:
                self._engine.check(voice)
            except VoiceUnavailable as error:
                if is_beyond_repair(error):
                    raise
                refusals[voice.name] = str(error)
        self.refusals = refusals
        self._probe = probe_of([voice for voice in voices if voice.name not in refusals])

    def _apply_cancels(self) -> None:
        with self._changed:
            cancelled, self._cancelled = self._cancelled, []
            unopened = [stream for stream in cancelled if stream in self._opening]
            for stream in unopened:
                self._opening.remove(stream)
        self._deliver([(stream, Frames(-1, 0, SILENCE, finish=Finish.CANCELLED)) for stream in unopened])
        for stream in cancelled:
            if stream.slot is not None and self._open.get(stream.slot) is stream:
                self._engine.cancel(stream.slot)

    def _open_waiting(self) -> None:
        while self._opening and len(self._open) < self._engine.n_slots:
            stream = self._opening.popleft()
            try:
                stream.slot = self._engine.open(stream.segment)
            except Exception as error:
                if isinstance(error, VoiceUnavailable) and not is_beyond_repair(error):
                    self._deliver([(stream, failure(error))])
                    continue
                log.exception("the engine failed to open a segment")
                self._failed([stream], error)
            else:
                self._open[stream.slot] = stream

    def _full(self, paused: set[int]) -> set[int]:
        """Slots whose reader is behind: paused from a full queue on until it is half empty."""
        return {
            slot
            for slot, stream in self._open.items()
            if not stream.is_cancelled and stream.n_queued >= (QUEUE_FRAMES // 2 if slot in paused else QUEUE_FRAMES)
        }

    def _step(self, paused: set[int]) -> None:
        began = perf_counter()
        try:
            stepped = self._engine.step(paused)
        except Exception as error:
            log.exception("the engine failed in a step, with %d segments open", len(self._open))
            self._on_step(perf_counter() - began)
            lost = list(self._open.values())
            self._open.clear()
            self._failed(lost, error)
            return
        self._on_step(perf_counter() - began)
        self._moved_at = monotonic()
        failed, cause = self._hand_on(stepped)
        if cause is not None:
            self._failed(failed, cause)

    def _hand_on(self, stepped: list[Frames]) -> tuple[list[SegmentStream], EngineError | None]:
        """Give frames to their readers; returns the segments that failed, not reported yet, and the last error."""
        delivered: list[tuple[SegmentStream, Frames]] = []
        failed: list[SegmentStream] = []
        error: EngineError | None = None
        for frames in stepped:
            stream = self._open.get(frames.slot)
            if stream is None:  # the end of a segment that failed before
                continue
            if frames.ended:
                del self._open[frames.slot]
            if frames.error is None or isinstance(frames.error, VoiceUnavailable):
                delivered.append((stream, frames))
            else:
                failed.append(stream)
                error = frames.error
        if any(frames.pcm.size for _, frames in delivered):
            self.n_failures = 0
        self._deliver(delivered)
        return failed, error

    # Whose fault it was.

    def _failed(self, streams: list[SegmentStream], error: Exception) -> None:
        """These segments failed: tell their readers, once the engine has shown that it is well. Raises EngineSick."""
        self._blamed += streams
        self._count_failure(error)
        while self._probe is not None and self.n_failures and not self._speaks(self._probe):
            pass
        blamed, self._blamed = self._blamed, []
        self._deliver([(stream, failure(_as_engine_error(error))) for stream in blamed])

    def _count_failure(self, error: Exception) -> None:
        self.n_failures += 1
        self._moved_at = monotonic()
        if is_beyond_repair(error):
            raise EngineSick(in_a_line(error)) from error
        if self.n_failures >= SICK_AFTER:
            raise EngineSick(
                f"it failed {self.n_failures} times in a row; the last time: {in_a_line(error)}"
            ) from error

    def _speaks(self, probe: Segment) -> bool:
        """Whether the engine speaks the known sentence now, while all other slots are paused. Raises EngineSick."""
        try:
            self._listen_to(self._engine.open(probe))
        except EngineSick:
            raise
        except Exception as error:
            log.warning("the engine does not speak a known sentence either: %s", in_a_line(error))
            self._count_failure(error)
            return False
        self.n_failures = 0
        return True

    def _listen_to(self, slot: int) -> None:
        is_heard = False
        for _ in range(PROBE_STEPS):
            try:
                stepped = self._engine.step(set(self._open))
            except Exception:
                self._blamed += self._open.values()
                self._open.clear()
                raise
            self._moved_at = monotonic()
            self._blamed += self._hand_on(stepped)[0]
            for frames in stepped:
                if frames.slot == slot:
                    is_heard = is_heard or frames.pcm.size > 0
                    if frames.error is not None:
                        raise frames.error
                    if frames.ended and is_heard:
                        return
            if is_heard:
                self._engine.cancel(slot)
        self._engine.cancel(slot)
        raise EngineError("the known sentence gave no sound")

    def _deliver(self, delivered: list[tuple[SegmentStream, Frames]]) -> None:
        if not delivered:
            return
        with self._changed:
            for stream, frames in delivered:
                stream.n_queued += frames.n_frames
                self._n_unfinished -= frames.ended
        self._loop.call_soon_threadsafe(put_all, delivered)


def _as_engine_error(error: Exception) -> EngineError:
    return error if isinstance(error, EngineError) else EngineError(in_a_line(error))
