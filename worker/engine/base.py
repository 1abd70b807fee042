"""The protocol of a speech engine: a running batch of segments, advanced one step at a time.

One thread owns an engine (`worker.engine.thread`) and makes every call. An engine does no I/O with Redis. A *slot* is a
row of the running batch. The owner opens a segment in a free slot, calls `step` while any slot is open, and hands each
slot's frames on. A slot is free again after the `Frames` that have `finish` or `error`.

Errors: EngineError and its subclasses VoiceUnavailable, EngineClosed, and EngineSick, which only
`worker.engine.health` and `worker.engine.thread` raise.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ErrorCode, MakimaError
from worker.audio.resample import ENGINE_RATE_HZ
from worker.voices.card import Card

FRAME_RATE_HZ = 12.5
FRAME_S = 1 / FRAME_RATE_HZ
SAMPLE_RATE_HZ = ENGINE_RATE_HZ
FRAME_SAMPLES = 1920  # SAMPLE_RATE_HZ / FRAME_RATE_HZ: one frame is 80 ms
N_CODEBOOKS = 16
N_CODES = 2048  # of each codebook

# Frames of the first, second, … chunk; the last size repeats. A short first chunk sounds early. Long ones cost less: a
# codec call of one frame takes two to three times as long a frame as one of twelve, and each message is a stream entry.
# engine.qwen.chunks sizes a segment's codec calls by it, utterance.delivery the most frames of an utterance's messages:
# with one ramp, most codec calls become one message each.
CHUNK_RAMP = (1, 2, 4, 8, 12)

NO_CODES: NDArray[np.uint16] = np.zeros((0, N_CODEBOOKS), dtype=np.uint16)
SILENCE: NDArray[np.float32] = np.zeros(0, dtype=np.float32)


class EngineError(MakimaError):
    """The engine failed to speak; the attempt failed and may be retried."""

    code = ErrorCode.ENGINE_FAILED


class VoiceUnavailable(EngineError):
    """The engine cannot speak a voice, for example because its reference recording is missing."""

    code = ErrorCode.VOICE_UNAVAILABLE


class EngineClosed(EngineError):
    """The engine was closed before the segment's end."""


class EngineSick(EngineClosed):
    """The engine is beyond repair, as after a CUDA error: its process must end; other workers take its jobs over."""


class Finish(StrEnum):
    """Why a segment ended."""

    STOP = "stop"  # the model ended it
    LENGTH = "length"  # the frame budget was used up
    RUNAWAY = "runaway"  # the model made silence or repeated itself
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Resume:
    """The part of a segment that an earlier attempt, here or on another worker, has spoken.

    n_frames: its length. codes: [n_frames, 16], or None for an engine without codes, which speaks the same text in the
    same way every time. The engine emits these frames again as fast as it can, with the same samples, which puts the
    caller's audio chain into the state that it had; then the engine goes on with the next frame. lead_s: seconds of
    samples that the listener has left, so that others may come first; 0 where that is unknown.
    """

    n_frames: int
    codes: NDArray[np.uint16] | None = None
    lead_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of an utterance's text, the unit of work of an engine.

    text: cleaned, with the voice's lexicon applied. language: an English name such as "English", or "Auto".
    temperature: None for the card's. seed: 0 to 2^63-1; the same segment and seed give the same frames.
    max_frames: the frame budget of this text, which counts resumed frames. is_open: more text may follow, see
    `Engine.extend`; the voice's card must have text = "streaming". Raises ValueError for an open segment of another
    voice.
    """

    text: str
    language: str
    voice: Card
    seed: int
    max_frames: int
    temperature: float | None = None
    resume: Resume | None = None
    is_open: bool = False

    def __post_init__(self) -> None:
        if self.is_open and self.voice.text != "streaming":
            raise ValueError(f"{self.voice.name} reads whole texts; only a streaming voice's segment may be open")

    def extended(self, text: str, is_end: bool, max_frames: int) -> Segment:
        """This open segment with more text. max_frames: the budget of all its text. Raises ValueError if not open."""
        if not self.is_open:
            raise ValueError("the segment's text is complete; open another segment for more text")
        return replace(self, text=self.text + text, max_frames=max_frames, is_open=not is_end)


@dataclass(frozen=True, slots=True)
class Frames:
    """What one step emitted for one slot: zero or more frames, and at the segment's end the reason.

    pcm: float32 [n * 1920] in -1..1 at 24 kHz. codes: uint16 [n, 16], or [0, 16] from an engine without codes.
    first_frame: index within the segment of the first of them. margins: float32 [n, 16], see `SpeechResult`; None
    unless they were asked for.
    """

    slot: int
    first_frame: int
    pcm: NDArray[np.float32]
    codes: NDArray[np.uint16] = field(default_factory=lambda: NO_CODES)
    finish: Finish | None = None
    error: EngineError | None = None  # set instead of finish when this slot alone failed; the slot is free
    margins: NDArray[np.float32] | None = None

    @property
    def ended(self) -> bool:
        return self.finish is not None or self.error is not None

    @property
    def n_frames(self) -> int:
        return len(self.pcm) // FRAME_SAMPLES

    def split(self, n: int) -> tuple[Frames, Frames]:
        """The first n frames, and the rest with the end; without margins."""
        head = Frames(self.slot, self.first_frame, self.pcm[: n * FRAME_SAMPLES], self.codes[:n])
        rest = self.pcm[n * FRAME_SAMPLES :]
        return head, Frames(self.slot, self.first_frame + n, rest, self.codes[n:], self.finish, self.error)


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """What an engine's samples depend on besides the job and the voice.

    name: 1 to 256 characters of printable ASCII, sent as begin.computed_on. is_exact: two engines of this name make
    the same samples to the last bit from the same codes, or without codes from the same segment.
    """

    name: str
    is_exact: bool


class Engine(Protocol):
    """A speech engine. `n_slots` is the most segments open at once.

    `gpu` (its name), `memory_bytes` (a metric) and `arithmetic` are None where there is none or it is unknown, and
    `eager_launches` (a metric: launches of a GPU that had no CUDA graph, by kind) without CUDA graphs. The properties
    are also read from other threads.
    """

    @property
    def name(self) -> str: ...

    @property
    def n_slots(self) -> int: ...

    @property
    def gpu(self) -> str | None: ...

    @property
    def memory_bytes(self) -> int | None: ...

    @property
    def eager_launches(self) -> Mapping[str, int] | None: ...

    @property
    def arithmetic(self) -> Arithmetic | None: ...

    def model(self, segment: Segment) -> str:
        """What speaks this segment. That of an utterance's first segment is sent as begin.model."""

    @property
    def has_codes(self) -> bool:
        """True when a take-over resumes from codes; False when the engine speaks a text the same way every time."""

    @property
    def takes_open_text(self) -> bool:
        """True when segments may be open: they are spoken while their text is still being written."""

    def warm_up(self, voices: Sequence[Card]) -> None:
        """Make the voices' prompts and run one real segment. A voice that cannot be spoken is skipped."""

    def has_voice(self, voice: Card) -> bool:
        """Whether `check` returns at once and `open` has nothing to make for this card. For any thread."""

    def check(self, voice: Card) -> None:
        """Make what a voice needs. Raises VoiceUnavailable.

        Where `has_voice` is False it may take seconds, and is called on another thread, beside every other method.
        """

    def check_device(self) -> None:
        """Raise when the device has failed. Called while no slot is open; takes microseconds."""

    def open(self, segment: Segment) -> int:
        """Start a segment in a free slot; returns the slot. Raises EngineError, VoiceUnavailable."""

    def extend(self, slot: int, text: str, is_end: bool, max_frames: int) -> None:
        """Append text to this slot's open segment. A slot whose text has run dry is held until then, at no cost.

        is_end: the text is complete. max_frames: the frame budget of all text so far. Harmless when the slot is free,
        and when the text is complete and there is no more. The frames do not depend on where the text was cut. Raises
        EngineError: then the slot is free.
        """

    def step(self, paused: Collection[int] = (), /) -> list[Frames]:
        """Advance every open slot that is not paused (its reader is behind). A slot may have no frames in a step.

        A slot that fails alone is reported with `Frames.error`. Raises EngineError when the whole batch failed: then
        every segment is lost and every slot is free.
        """

    def wait_s(self, paused: Collection[int] = (), /) -> float:
        """Seconds until a step has something to do: 0 for now, inf when every open slot is paused or held."""

    def cancel(self, slot: int) -> None:
        """End this slot's segment; the next step reports it with Finish.CANCELLED."""

    def close(self) -> None:
        """Free everything. Safe to call twice."""
