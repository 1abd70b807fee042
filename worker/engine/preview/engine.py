"""The preview engine: slots, pace and frames around a synthesiser, for machines without a GPU or a model.

It has no codes: the same segment gives the same samples in every process, so a segment is resumed by speaking it
again. A segment's seed and temperature change nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from worker.engine.base import (
    FRAME_RATE_HZ,
    FRAME_SAMPLES,
    Arithmetic,
    EngineClosed,
    EngineError,
    Finish,
    Frames,
    Segment,
    VoiceUnavailable,
)
from worker.engine.checkpoint.packages import installed
from worker.engine.preview.cutter import FrameCutter
from worker.engine.preview.natural.choice import Natural
from worker.engine.preview.synthesiser import SampleStream, Synthesiser, wait_for_samples
from worker.engine.processor import processor
from worker.voices.card import Card

MAX_STEP_FRAMES = 12  # of one slot, so that its neighbours advance with it
_STEP_WAIT_S = 0.02
_ROUNDING_S = 1e-6  # a sleep of exactly wait_s ends at a due time, give or take what floats lose
_WARM_UP_TEXT = "Ready."
_WARM_UP_FRAMES = 125


class _Slot:
    """A segment being spoken."""

    def __init__(self, stream: SampleStream, segment: Segment, opened_s: float) -> None:
        self.stream = stream
        self.n_emitted = 0
        self.is_cancelled = False
        self._opened_s = opened_s
        self._n_resumed = segment.resume.n_frames if segment.resume else 0
        self._max_frames = segment.max_frames
        self._cutter = FrameCutter(stream.rate_hz)

    def due_s(self, pace: float | None, frame: int) -> float:
        """When the frame may be emitted. Resumed frames are due at once, and the pace counts from them on."""
        if pace is None:
            return -math.inf
        return self._opened_s + max(0, frame - self._n_resumed) / (FRAME_RATE_HZ * pace)

    def advance(self, n_due: int) -> tuple[NDArray[np.float32], Finish | None]:
        """Up to `n_due` frames that are there, and the reason when it is the end. Never blocks. Raises EngineError."""
        n_left = self._max_frames - self.n_emitted
        pcm = self._take(min(n_due, n_left))
        n_frames = len(pcm) // FRAME_SAMPLES
        self.n_emitted += n_frames
        if n_frames == n_due:
            return pcm, None
        # One frame more distinguishes a text that just fits the budget from one that was cut short.
        if n_frames == n_left and len(self._take(1)):
            return pcm, Finish.LENGTH
        return pcm, Finish.STOP if self.stream.ended else None

    def _take(self, n_frames: int) -> NDArray[np.float32]:
        pcm = self._cutter.take(n_frames, is_end=self.stream.ended)
        while len(pcm) < n_frames * FRAME_SAMPLES and not self.stream.ended:
            data = self.stream.read()
            if not data and not self.stream.ended:
                break
            self._cutter.feed(data)
            n_missing = n_frames - len(pcm) // FRAME_SAMPLES
            pcm = np.concatenate([pcm, self._cutter.take(n_missing, is_end=self.stream.ended)])
        return pcm


class PreviewEngine:
    """Speaks up to `n_slots` segments at once.

    pace: at most this many times real time, None for as fast as it goes. The time a slot is held counts, so a
    slot released after a while catches up. synthesiser: None for the natural voices. clock: seconds, monotonic.
    """

    gpu = None
    memory_bytes = None
    eager_launches = None
    takes_open_text = False

    def __init__(
        self,
        n_slots: int,
        pace: float | None = None,
        synthesiser: Synthesiser | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if n_slots < 1:
            raise ValueError(f"n_slots is {n_slots}; give 1 or more")
        if pace is not None and not 0 < pace < math.inf:
            raise ValueError(f"pace is {pace}; give a number above 0, or None for no limit")
        self._n_slots = n_slots
        self._pace = pace
        self._clock = clock
        self._slots: dict[int, _Slot] = {}
        self._synthesiser: Synthesiser = synthesiser or Natural()
        self._is_closed = False

    @property
    def name(self) -> str:
        return f"preview-{self._synthesiser.name}"

    @property
    def n_slots(self) -> int:
        return self._n_slots

    def model(self, segment: Segment) -> str:
        return f"preview-{self._synthesiser.model(segment)}"

    @property
    def has_codes(self) -> bool:
        return False

    @property
    def arithmetic(self) -> Arithmetic:
        """The processor and the packages: where they are equal, so are the samples."""
        packages = (*self._synthesiser.packages, "soxr", "makima-tts")
        parts = [f"{package}-{installed(package)}" for package in packages]
        return Arithmetic(" ".join(["preview", processor(), *parts])[:256], is_exact=True)

    def warm_up(self, voices: Sequence[Card]) -> None:
        """Speak a word in every language of the cards that can be spoken. Raises EngineError."""
        self._refuse_closed()
        words: dict[str, Segment] = {}
        for card in filter(self._can_speak, voices):
            for language in card.languages:
                word = Segment(_WARM_UP_TEXT, language, card, seed=0, max_frames=_WARM_UP_FRAMES)
                words.setdefault(self.model(word), word)
        if not words:
            self._synthesiser.check_installed()
            return
        self._synthesiser.warm_up({word.language for word in words.values()})
        for word in words.values():
            self._speak_to_its_end(self._begin(word))
        self._synthesiser.wait_until_ready()

    def _speak_to_its_end(self, slot: _Slot) -> None:
        try:
            while slot.advance(MAX_STEP_FRAMES)[1] is None:
                wait_for_samples([slot.stream], _STEP_WAIT_S)
        finally:
            slot.stream.close()

    def _can_speak(self, voice: Card) -> bool:
        try:
            self.check(voice)
        except VoiceUnavailable:
            return False
        return True

    def has_voice(self, voice: Card) -> bool:
        return True

    def check_device(self) -> None: ...

    def check(self, voice: Card) -> None:
        """Return when the synthesiser has one of the card's languages. Raises VoiceUnavailable.

        `open` refuses the languages that it lacks.
        """
        self._refuse_closed()
        problem = VoiceUnavailable(f"the card of {voice.name!r} has no language", "add one to its languages")
        for language in voice.languages:
            try:
                self._synthesiser.check(voice, language)
            except VoiceUnavailable as error:
                problem = error
            else:
                return
        raise problem

    def open(self, segment: Segment) -> int:
        """Begin a segment and return its slot. Raises EngineError, VoiceUnavailable."""
        self._refuse_closed()
        slot = next((n for n in range(self._n_slots) if n not in self._slots), None)
        if slot is None:
            raise EngineError(f"all {self._n_slots} slots are busy", "step until one has ended")
        self._slots[slot] = self._begin(segment)
        return slot

    def _begin(self, segment: Segment) -> _Slot:
        return _Slot(self._synthesiser.begin(segment), segment, self._clock())

    def extend(self, slot: int, text: str, is_end: bool, max_frames: int) -> None:
        """Raises EngineError: a sentence is synthesised as a whole."""
        if slot in self._slots:
            self._free(slot)
        raise EngineError("the preview engine speaks whole texts", "open a segment for each sentence")

    def step(self, held: Collection[int] = ()) -> list[Frames]:
        """At most 12 due frames of every slot; waits up to 20 ms when frames are due and none is there."""
        self._refuse_closed()
        stepped = self._advance(held)
        if stepped:
            return stepped
        due = [slot.stream for n, slot in self._slots.items() if n not in held and self._n_due(slot)]
        if not due:
            return []
        wait_for_samples(due, _STEP_WAIT_S)
        return self._advance(held)

    def _advance(self, held: Collection[int]) -> list[Frames]:
        stepped = []
        for n, slot in list(self._slots.items()):
            if slot.is_cancelled or n not in held:
                frames = self._frames(n, slot)
                if frames.ended:
                    self._free(n)
                if frames.ended or len(frames.pcm):
                    stepped.append(frames)
        return stepped

    def _frames(self, n: int, slot: _Slot) -> Frames:
        first_frame, silence = slot.n_emitted, np.zeros(0, dtype=np.float32)
        if slot.is_cancelled:
            return Frames(n, first_frame, silence, finish=Finish.CANCELLED)
        n_due = self._n_due(slot)
        if n_due == 0:
            return Frames(n, first_frame, silence)
        try:
            pcm, finish = slot.advance(n_due)
        except EngineError as error:
            return Frames(n, first_frame, silence, error=error)
        return Frames(n, first_frame, pcm, finish=finish)

    def _n_due(self, slot: _Slot) -> int:
        now_s, first = self._clock(), slot.n_emitted
        frames = range(first, first + MAX_STEP_FRAMES)
        return sum(1 for frame in frames if slot.due_s(self._pace, frame) <= now_s + _ROUNDING_S)

    def wait_s(self, held: Collection[int] = ()) -> float:
        """Seconds until a slot's next frame is due: 0 for now, inf when no slot but held ones is open."""
        waits = [self._wait_s(slot) for n, slot in self._slots.items() if slot.is_cancelled or n not in held]
        return min(waits, default=math.inf)

    def _wait_s(self, slot: _Slot) -> float:
        wait_s = slot.due_s(self._pace, slot.n_emitted) - self._clock()
        return 0.0 if slot.is_cancelled or wait_s <= _ROUNDING_S else wait_s

    def cancel(self, slot: int) -> None:
        """End this slot's segment. The next step reports it, held or not. A free slot is ignored."""
        if slot in self._slots:
            self._slots[slot].is_cancelled = True
            self._slots[slot].stream.close()

    def close(self) -> None:
        """End every segment. Safe to call twice."""
        self._is_closed = True
        for n in list(self._slots):
            self._free(n)
        self._synthesiser.close()

    def _free(self, n: int) -> None:
        self._slots.pop(n).stream.close()

    def _refuse_closed(self) -> None:
        if self._is_closed:
            raise EngineClosed("the preview engine is closed")
