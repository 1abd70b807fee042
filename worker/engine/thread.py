"""The one thread that owns the engine, and the bounded queues between it and the event loop.

Policy of a full queue: its slot is held (the engine steps without it) until the reader has taken half of it, so a slow
Redis costs its own utterance time and nobody memory. An open that finds no free slot waits for one. An engine that
fails in a step fails every open segment: their jobs are tried again.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic, perf_counter

import numpy as np

from worker.engine.base import (
    FRAME_SAMPLES,
    Engine,
    EngineClosed,
    EngineError,
    Finish,
    Frames,
    Segment,
    VoiceUnavailable,
)
from worker.voices.card import Card

log = logging.getLogger(__name__)

QUEUE_FRAMES = 64
NAP_S = 0.25  # the longest sleep with a slot open: how often the thread shows that it is alive


class Speech:
    """The frames of one segment as they come; read on the event loop only."""

    def __init__(self, owner: EngineThread, segment: Segment) -> None:
        self.segment = segment
        self.slot: int | None = None  # the engine thread's
        self.is_cancelled = False
        self.n_queued = 0  # frames not yet taken; written by both sides, each under the owner's lock
        self._owner = owner
        self._queue: deque[Frames] = deque()
        self._arrived = asyncio.Event()
        self._ended = False

    async def take(self, most_frames: int) -> Frames:
        """The next 1 to `most_frames` frames that lie ready, as one. Raises EngineError, after an end EngineClosed."""
        while not self._queue:
            if self._ended:
                raise EngineClosed("the segment has ended; there is nothing more to take")
            self._arrived.clear()
            await self._arrived.wait()
        taken = [self._queue.popleft()]
        n = _n_frames(taken[0])
        while self._queue and not taken[-1].ended and n + _n_frames(self._queue[0]) <= most_frames:
            taken.append(self._queue.popleft())
            n += _n_frames(taken[-1])
        if n > most_frames:
            head, tail = _cut(taken.pop(), most_frames)
            taken.append(head)
            self._queue.appendleft(tail)
            n = most_frames
        self._owner._took(self, n)
        if taken[-1].error is not None:
            raise taken[-1].error
        return taken[0] if len(taken) == 1 else _joined(taken)

    def cancel(self) -> None:
        """End the segment early; harmless after its end."""
        if not self._ended and not self.is_cancelled:
            self.is_cancelled = True
            self._owner._cancel(self)

    def _put(self, frames: Frames) -> None:
        self._queue.append(frames)
        self._ended = self._ended or frames.ended
        self._arrived.set()


class EngineThread:
    """Runs an engine. `open`, `close` and every Speech belong to the event loop that called `start`."""

    def __init__(self, engine: Engine, on_step: Callable[[float], None] = lambda seconds: None) -> None:
        self._engine = engine
        self._on_step = on_step
        self._changed = threading.Condition()
        self._opening: deque[Speech] = deque()
        self._cancelled: list[Speech] = []
        self._open: dict[int, Speech] = {}  # touched by the engine thread only
        self._n_unfinished = 0
        self._closing = False
        self._moved_at = monotonic()
        self._ready: asyncio.Future[None] | None = None
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._to_check: list[Card] = []
        self.refusals: dict[str, str] = {}  # voice -> why this engine cannot speak it
        self.n_failures = 0  # steps that failed, in a row

    @property
    def engine(self) -> Engine:
        return self._engine

    async def start(self, voices: Sequence[Card]) -> None:
        """Start the thread and warm the engine up on it. Raises what the engine raises."""
        self._loop = asyncio.get_running_loop()
        self._ready = self._loop.create_future()
        self._death: asyncio.Future[None] = self._loop.create_future()
        self._voices = voices
        self._thread.start()
        await self._ready

    def open(self, segment: Segment) -> Speech:
        """Have a segment spoken as soon as a slot is free; a refusal comes out of the Speech."""
        if self._closing or not self._thread.is_alive():
            raise EngineClosed("the engine is closed")
        speech = Speech(self, segment)
        with self._changed:
            if not self._n_unfinished:
                self._moved_at = monotonic()  # it was idle until now, and not hung
            self._opening.append(speech)
            self._n_unfinished += 1
            self._changed.notify()
        return speech

    def check(self, voices: Sequence[Card]) -> None:
        """Find out again which voices the engine refuses, after the cards have changed."""
        with self._changed:
            self._to_check = list(voices)
            self._changed.notify()

    def moves(self, within_s: float) -> bool:
        """True when the engine is idle, or was seen to move that recently; False when its thread has died."""
        if not self._thread.is_alive():
            return False
        return self._n_unfinished == 0 or monotonic() - self._moved_at <= within_s

    async def died(self) -> None:
        """Never return; raise EngineError when the thread ends by an error of its own."""
        await self._death

    async def close(self) -> None:
        """Stop the thread and close the engine; open segments fail with EngineClosed."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, 10)

    # Called by Speech, on the event loop.

    def _took(self, speech: Speech, n: int) -> None:
        with self._changed:
            was_full = speech.n_queued >= QUEUE_FRAMES // 2
            speech.n_queued -= n
            if was_full and speech.n_queued < QUEUE_FRAMES // 2:
                self._changed.notify()

    def _cancel(self, speech: Speech) -> None:
        with self._changed:
            self._cancelled.append(speech)
            self._changed.notify()

    # The engine's thread.

    def _run(self) -> None:
        if not self._warm_up():
            return
        end: EngineError = EngineClosed("the engine was closed")
        try:
            self._serve()
        except Exception as error:
            log.exception("the engine's thread has died")
            end = _as_engine_error(error)
            self._loop.call_soon_threadsafe(self._die, end)
        with self._changed:
            self._closing = True
            unfinished = [*self._open.values(), *self._opening]
        self._deliver([(speech, _failure(end)) for speech in unfinished])
        self._engine.close()

    def _die(self, error: EngineError) -> None:
        if not self._death.done():
            self._death.set_exception(error)
            self._death.exception()  # seen, also where nobody waits for it

    def _serve(self) -> None:
        held: set[int] = set()
        while self._await_work(held):
            self._check_voices()
            self._apply_cancels()
            self._open_waiting()
            held = self._full(held)
            if self._open and self._engine.wait_s(held) <= 0:
                self._step(held)

    def _warm_up(self) -> bool:
        assert self._ready is not None
        try:
            self._engine.warm_up(self._voices)
            self._to_check = list(self._voices)
            self._check_voices()
        except Exception as error:
            self._engine.close()
            self._loop.call_soon_threadsafe(self._ready.set_exception, error)
            return False
        self._loop.call_soon_threadsafe(self._ready.set_result, None)
        return True

    def _await_work(self, held: set[int]) -> bool:
        """Sleep until there may be something to do; False when the thread shall end."""
        with self._changed:
            self._moved_at = monotonic()
            can_open = self._opening and len(self._open) < self._engine.n_slots
            if not (self._closing or can_open or self._cancelled or self._to_check):
                wait_s = self._engine.wait_s(self._full(held)) if self._open else math.inf
                if wait_s > 0:
                    self._changed.wait(min(wait_s, NAP_S) if self._open else None)
                    self._moved_at = monotonic()
            return not self._closing

    def _check_voices(self) -> None:
        if not self._to_check:
            return
        voices, self._to_check = self._to_check, []
        refusals = {}
        for voice in voices:
            try:
                self._engine.check(voice)
            except VoiceUnavailable as error:
                refusals[voice.name] = str(error)
        self.refusals = refusals

    def _apply_cancels(self) -> None:
        with self._changed:
            cancelled, self._cancelled = self._cancelled, []
            unopened = [speech for speech in cancelled if speech in self._opening]
            for speech in unopened:
                self._opening.remove(speech)
        self._deliver([(speech, Frames(-1, 0, _SILENCE, finish=Finish.CANCELLED)) for speech in unopened])
        for speech in cancelled:
            if speech.slot is not None and self._open.get(speech.slot) is speech:
                self._engine.cancel(speech.slot)

    def _open_waiting(self) -> None:
        while self._opening and len(self._open) < self._engine.n_slots:
            speech = self._opening.popleft()
            try:
                speech.slot = self._engine.open(speech.segment)
            except EngineError as error:
                self._deliver([(speech, _failure(error))])
            except Exception as error:
                log.exception("the engine failed to open a segment")
                self._deliver([(speech, _failure(_as_engine_error(error)))])
            else:
                self._open[speech.slot] = speech

    def _full(self, held: set[int]) -> set[int]:
        """Slots whose reader is behind: held from a full queue on until it is half empty."""
        return {
            slot
            for slot, speech in self._open.items()
            if not speech.is_cancelled and speech.n_queued >= (QUEUE_FRAMES // 2 if slot in held else QUEUE_FRAMES)
        }

    def _step(self, held: set[int]) -> None:
        began = perf_counter()
        try:
            stepped = self._engine.step(held)
        except Exception as error:
            log.exception("the engine failed in a step; its %d open segments fail", len(self._open))
            self.n_failures += 1
            stepped = [Frames(slot, 0, _SILENCE, error=_as_engine_error(error)) for slot in self._open]
        else:
            self.n_failures = 0
        self._on_step(perf_counter() - began)
        self._moved_at = monotonic()
        delivered = []
        for frames in stepped:
            speech = self._open.get(frames.slot)
            if speech is None:  # the end of a segment that failed before
                continue
            if frames.ended:
                del self._open[frames.slot]
            delivered.append((speech, frames))
        self._deliver(delivered)

    def _deliver(self, delivered: list[tuple[Speech, Frames]]) -> None:
        if not delivered:
            return
        with self._changed:
            for speech, frames in delivered:
                speech.n_queued += _n_frames(frames)
                self._n_unfinished -= frames.ended
        self._loop.call_soon_threadsafe(_put_all, delivered)


_SILENCE = np.zeros(0, dtype=np.float32)


def _put_all(delivered: list[tuple[Speech, Frames]]) -> None:
    for speech, frames in delivered:
        speech._put(frames)


def _failure(error: EngineError) -> Frames:
    return Frames(-1, 0, _SILENCE, error=error)


def _as_engine_error(error: Exception) -> EngineError:
    return error if isinstance(error, EngineError) else EngineError(f"{type(error).__name__}: {error}")


def _n_frames(frames: Frames) -> int:
    return len(frames.pcm) // FRAME_SAMPLES


def _cut(frames: Frames, n: int) -> tuple[Frames, Frames]:
    """The first n frames and the rest, which keeps the end."""
    head = Frames(frames.slot, frames.first_frame, frames.pcm[: n * FRAME_SAMPLES], frames.codes[:n])
    tail = Frames(
        frames.slot,
        frames.first_frame + n,
        frames.pcm[n * FRAME_SAMPLES :],
        frames.codes[n:],
        frames.finish,
        frames.error,
    )
    return head, tail


def _joined(parts: list[Frames]) -> Frames:
    first, last = parts[0], parts[-1]
    return Frames(
        first.slot,
        first.first_frame,
        np.concatenate([part.pcm for part in parts]),
        np.concatenate([part.codes for part in parts]),
        last.finish,
        last.error,
    )
