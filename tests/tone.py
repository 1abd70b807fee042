"""An engine for tests: every segment is a tone whose samples tell the text, the frame and the place in it."""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from worker.engine.base import (
    FRAME_SAMPLES,
    N_CODEBOOKS,
    Arithmetic,
    EngineError,
    Finish,
    Frames,
    Segment,
    VoiceUnavailable,
)
from worker.voices.card import Card


@dataclass(slots=True)
class _Slot:
    segment: Segment
    spoken: int = 0
    is_cancelled: bool = False
    due_at: float = field(default_factory=time.monotonic)

    @property
    def n_frames(self) -> int:
        text = self.segment.text
        n = 0 if text.startswith("silent") else len(text) // 2 if self.segment.is_open else math.ceil(len(text) / 2)
        return min(n, self.segment.max_frames)

    @property
    def is_dry(self) -> bool:
        return self.segment.is_open and self.spoken >= self.n_frames


class ToneEngine:
    """Two characters a frame; `frame_s` seconds a frame after what is resumed. has_codes: gives codes and needs them.

    A segment of a streaming voice may be open: each frame depends on the text up to its two characters, which it waits
    for. fail: raise in this many steps; with which error: `error`. A text that begins with "silent" makes no sound at
    all, and a step that has one that begins with "unspeakable" open fails.
    """

    gpu = None
    memory_bytes = None
    eager_launches: dict[str, int] | None = None
    takes_open_text = True

    def __init__(self, n_slots: int = 8, frame_s: float = 0.0, has_codes: bool = False) -> None:
        self._n_slots = n_slots
        self.frame_s = frame_s
        self._has_codes = has_codes
        self._slots: dict[int, _Slot] = {}
        self.arithmetic: Arithmetic | None = Arithmetic("tone", is_exact=True)
        self.fail = 0
        self.error: Exception = EngineError("told to fail")
        self.device_error: Exception | None = None
        self.refused: set[str] = set()
        self.opened: list[Segment] = []
        self.is_closed = False
        self.n_frames = 0  # made since the start

    @property
    def name(self) -> str:
        return "tone"

    def model(self, segment: Segment) -> str:
        return self.name

    @property
    def n_slots(self) -> int:
        return self._n_slots

    @property
    def has_codes(self) -> bool:
        return self._has_codes

    def warm_up(self, voices: Sequence[Card]) -> None: ...

    def has_voice(self, voice: Card) -> bool:
        return True

    def check_device(self) -> None:
        if self.device_error is not None:
            raise self.device_error

    def check(self, voice: Card) -> None:
        if voice.name in self.refused:
            raise VoiceUnavailable(f"{voice.name} has no reference; record one")

    def open(self, segment: Segment) -> int:
        slot = next(n for n in range(self._n_slots) if n not in self._slots)
        self._slots[slot] = _Slot(segment)
        self.opened.append(segment)
        return slot

    def extend(self, slot: int, text: str, is_end: bool, max_frames: int) -> None:
        if slot in self._slots and self._slots[slot].segment.is_open:
            self._slots[slot].segment = self._slots[slot].segment.extended(text, is_end, max_frames)

    def step(self, held: Collection[int] = ()) -> list[Frames]:
        if self.fail:
            self.fail -= 1
            self._slots.clear()
            raise self.error
        if any(slot.segment.text.startswith("unspeakable") for slot in self._slots.values()):
            self._slots.clear()
            raise EngineError("that cannot be spoken")
        return [self._advance(n) for n in list(self._slots) if n not in held or self._slots[n].is_cancelled]

    def _advance(self, n: int) -> Frames:
        slot = self._slots[n]
        first = slot.spoken
        if slot.is_cancelled:
            del self._slots[n]
            return Frames(n, first, np.zeros(0, np.float32), finish=Finish.CANCELLED)
        resumed = slot.segment.resume.n_frames if slot.segment.resume else 0
        last = min(slot.n_frames, max(resumed, first + 1))
        if first >= resumed and time.monotonic() < slot.due_at:
            last = first
        slot.spoken = last
        self.n_frames += last - first
        slot.due_at = max(slot.due_at, time.monotonic()) + (self.frame_s if last > first else 0)
        pcm = [tone(slot.segment, frame) for frame in range(first, last)]
        finish = Finish.STOP if last == slot.n_frames and not slot.segment.is_open else None
        if finish:
            del self._slots[n]
        codes = [code(slot.segment, frame) for frame in range(first, last)] if self._has_codes else []
        return Frames(
            n,
            first,
            np.concatenate(pcm) if pcm else np.zeros(0, np.float32),
            np.array(codes, np.uint16).reshape(-1, N_CODEBOOKS),
            finish,
        )

    def wait_s(self, held: Collection[int] = ()) -> float:
        waits = [
            0.0 if slot.is_cancelled else max(0.0, slot.due_at - time.monotonic())
            for n, slot in self._slots.items()
            if (n not in held and not slot.is_dry) or slot.is_cancelled
        ]
        return min(waits, default=math.inf)

    def cancel(self, slot: int) -> None:
        if slot in self._slots:
            self._slots[slot].is_cancelled = True

    def close(self) -> None:
        self.is_closed = True
        self._slots.clear()


def code(segment: Segment, frame: int) -> list[int]:
    """Codes that are a function of text, seed and frame."""
    start = zlib.crc32(f"{_read(segment, frame)} {segment.seed} {frame}".encode())
    return [(start >> n) % 2048 for n in range(N_CODEBOOKS)]


def tone(segment: Segment, frame: int) -> NDArray[np.float32]:
    """One frame, float32 [1920]: a pitch drawn from text, seed and frame."""
    hertz = 200 + zlib.crc32(f"{_read(segment, frame)} {segment.seed} {frame}".encode()) % 2000
    t = np.arange(FRAME_SAMPLES) / 24_000
    return (0.5 * np.sin(2 * np.pi * hertz * t)).astype(np.float32)


def _read(segment: Segment, frame: int) -> str:
    """The text that a frame depends on."""
    return segment.text[: 2 * frame + 2] if segment.voice.text == "streaming" else segment.text
