"""The frames of one segment, on their way from the engine's thread to a reader on the event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from worker.engine.base import FRAME_S, SILENCE, EngineClosed, EngineError, Frames, Resume, Segment
from worker.engine.health import in_a_line
from worker.engine.playback import Playback

QUEUE_FRAMES = 64
DANGER_S = 1.0  # of lead


class StreamOwner(Protocol):
    """The engine thread's side of a SegmentStream. Called on the event loop."""

    def took(self, stream: SegmentStream, n: int) -> None:
        """The reader has taken n frames."""

    def cancel(self, stream: SegmentStream) -> None:
        """The reader wants no more frames."""

    def extend(self, stream: SegmentStream) -> None:
        """The stream's segment has more text."""


class SegmentStream:
    """The queue of one segment's frames. Read on the event loop only.

    segment: with all text so far. playback: of the utterance; None where nobody plays it, so that it never takes
    another segment's slot or loses its own to one.
    """

    def __init__(self, owner: StreamOwner, segment: Segment, playback: Playback | None = None) -> None:
        self.segment = segment
        self.playback = playback
        self.slot: int | None = None  # read and written on the engine's thread, as are the next five
        self.is_parking = False
        self.is_dry = False  # parked when the engine had spoken all its text so far
        self._opened = segment  # with the text that the engine has
        self._n_given = 0  # frames of the segment that the engine has given out
        self._codes: list[NDArray[np.uint16]] = []  # theirs
        self.is_cancelled = False
        self.n_queued = 0  # frames not taken yet; both threads write it under the owner's lock
        self._owner = owner
        self._queue: deque[Frames] = deque()
        self._arrived = asyncio.Event()
        self._ended = False

    async def take(self, most_frames: int) -> Frames:
        """Wait for frames; returns the next 1 to `most_frames`. Raises EngineError, and EngineClosed after the end."""
        while not self._queue:
            if self._ended:
                raise EngineClosed("the segment has ended")
            self._arrived.clear()
            await self._arrived.wait()
        taken = [self._queue.popleft()]
        n = taken[0].n_frames
        while self._queue and not taken[-1].ended and n + self._queue[0].n_frames <= most_frames:
            taken.append(self._queue.popleft())
            n += taken[-1].n_frames
        if n > most_frames:
            head, tail = taken.pop().split(most_frames)
            taken.append(head)
            self._queue.appendleft(tail)
            n = most_frames
        self._owner.took(self, n)
        if taken[-1].error is not None:
            raise taken[-1].error
        return taken[0] if len(taken) == 1 else joined(taken)

    def cancel(self) -> None:
        """End the segment early; harmless after its end."""
        if not self._ended and not self.is_cancelled:
            self.is_cancelled = True
            self._owner.cancel(self)

    def extend(self, text: str, is_end: bool, max_frames: int) -> None:
        """Append text to an open segment; harmless after the segment's end.

        is_end: the text is complete. max_frames: the frame budget of all text so far. Raises ValueError when the text
        is complete already.
        """
        if not self._ended and not self.is_cancelled:
            self.segment = self.segment.extended(text, is_end, max_frames)
            self._owner.extend(self)

    def must_pause(self, is_paused: bool) -> bool:
        """Whether the engine is to step without this segment: from a full queue on until the queue is half empty."""
        return not self.is_leaving and self.n_queued >= (QUEUE_FRAMES // 2 if is_paused else QUEUE_FRAMES)

    # The engine's thread.

    @property
    def is_leaving(self) -> bool:
        """Whether the next step frees its slot."""
        return self.is_cancelled or self.is_parking

    @property
    def wants_slot(self) -> bool:
        """Whether it would step if it had a slot: False for a parked one whose reader has enough or that lacks text."""
        lacks_text = self.is_dry and self.segment is self._opened
        return not (lacks_text or self.must_pause(is_paused=True))

    @property
    def standing_s(self) -> float:
        """The lead by which slots are given; frames that the reader has not taken count."""
        return 0.0 if self.playback is None else self.playback.standing_s + self.n_queued * FRAME_S

    @property
    def is_in_danger(self) -> bool:
        """Whether its listener has audio, and runs dry soon without a slot."""
        return self.playback is not None and self.playback.has_begun and self.standing_s < DANGER_S

    def to_open(self) -> Segment:
        """The segment for the engine. A parked one resumes from what it has given out."""
        self.is_dry = False
        segment = self._opened = self.segment
        if not self._n_given or (segment.resume is not None and segment.resume.n_frames >= self._n_given):
            return segment
        codes = np.concatenate(self._codes) if self._codes else None
        return replace(segment, resume=Resume(self._n_given, codes, max(0.0, self.standing_s)))

    def new_text(self) -> tuple[str, bool, int]:
        """What the engine has not been given of an open segment: the arguments of `Engine.extend`."""
        opened, self._opened = self._opened, self.segment
        return self._opened.text[len(opened.text) :], not self._opened.is_open, self._opened.max_frames

    def new_in(self, frames: Frames) -> Frames | None:
        """What the reader has not been given of a step's frames; None when that is nothing."""
        n_known = min(self._n_given - frames.first_frame, frames.n_frames) if frames.n_frames else 0
        new = frames.split(n_known)[1] if n_known > 0 else frames
        self._n_given += new.n_frames
        self._codes += [new.codes] if len(new.codes) else []
        return new if new.n_frames or new.ended or not n_known else None

    def put(self, frames: Frames) -> None:
        self._queue.append(frames)
        self._ended = self._ended or frames.ended
        self._arrived.set()


def to_pause(opened: Mapping[int, SegmentStream], paused: Collection[int]) -> set[int]:
    """The slots that the engine is to step without. paused: those of the step before."""
    return {slot for slot, stream in opened.items() if stream.must_pause(slot in paused)}


def put_all(delivered: list[tuple[SegmentStream, Frames]]) -> None:
    """Put frames into their streams. Runs on the event loop."""
    for stream, frames in delivered:
        stream.put(frames)


def failure(error: Exception) -> Frames:
    """The end of a segment that failed; an error of another type becomes an EngineError."""
    return Frames(-1, 0, SILENCE, error=error if isinstance(error, EngineError) else EngineError(in_a_line(error)))


def joined(parts: list[Frames]) -> Frames:
    first, last = parts[0], parts[-1]
    return Frames(
        first.slot,
        first.first_frame,
        np.concatenate([part.pcm for part in parts]),
        np.concatenate([part.codes for part in parts]),
        last.finish,
        last.error,
    )
