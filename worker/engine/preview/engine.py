"""The preview engine: espeak-ng speaks, so that the whole path is real on machines without a GPU or a model.

It takes language, pitch and rate from the voice's card and cannot sound like its recording; `name` says so in
every begin.model. It has no codes: the same segment gives the same samples in every process, so it resumes by
speaking the frames again. espeak-ng samples nothing, so a segment's seed and temperature change nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Sequence

import numpy as np
import soxr
from numpy.typing import NDArray

from worker.engine.base import (
    FRAME_RATE_HZ,
    FRAME_SAMPLES,
    SAMPLE_RATE_HZ,
    Arithmetic,
    EngineClosed,
    EngineError,
    Finish,
    Frames,
    Segment,
    VoiceUnavailable,
)
from worker.engine.checkpoint.packages import installed
from worker.engine.preview.espeak import RATE_HZ, Espeak, EspeakSpeech, Request, wait_for_samples
from worker.engine.preview.voices import espeak_voice
from worker.engine.processor import processor
from worker.voices.card import Card

MAX_STEP_FRAMES = 12  # of one slot, so that its neighbours advance with it
_STEP_WAIT_S = 0.02
_ROUNDING_S = 1e-6  # a sleep of exactly wait_s ends at a due time, give or take what floats lose
_BLOCK_BYTES = 2 * RATE_HZ * FRAME_SAMPLES // SAMPLE_RATE_HZ  # 1764 int16 samples: one frame's worth
_COMPUTES_WITH = ("espeakng-loader", "soxr", "makima-tts")
_WARM_UP_TEXT = "Ready."
_WARM_UP_FRAMES = 125


class FrameCutter:
    """int16 samples at 22.05 kHz in, in pieces of any size; whole frames at 24 kHz out.

    soxr is fed one frame's worth at a time, so the frames never depend on how the samples were cut. Audio
    that is silent to its end gives no frame at all; the last frame is filled up with zeros.
    """

    def __init__(self) -> None:
        self._resampler = soxr.ResampleStream(RATE_HZ, SAMPLE_RATE_HZ, 1, dtype="float32", quality="HQ")
        self._received = bytearray()
        self._resampled = np.zeros(0, dtype=np.float32)
        self._is_audible = False
        self._is_flushed = False

    def feed(self, pcm: bytes) -> None:
        """Take any number of bytes of int16 samples."""
        self._received += pcm
        self._is_audible = self._is_audible or any(pcm)

    def take(self, n_frames: int, *, is_end: bool) -> NDArray[np.float32]:
        """At most `n_frames` frames, float32 [n * 1920] in -1..1; `is_end`: no more will be fed."""
        while self._is_audible and len(self._resampled) < n_frames * FRAME_SAMPLES and self._resample(is_end):
            pass
        n_samples = min(n_frames, len(self._resampled) // FRAME_SAMPLES) * FRAME_SAMPLES
        frames, self._resampled = self._resampled[:n_samples], self._resampled[n_samples:]
        return frames

    def _resample(self, is_end: bool) -> bool:
        """Resample one more block; False when there is none to resample."""
        is_last = is_end and len(self._received) < _BLOCK_BYTES
        if self._is_flushed or (len(self._received) < _BLOCK_BYTES and not is_last):
            return False
        block = np.frombuffer(bytes(self._received[:_BLOCK_BYTES]), dtype=np.int16).astype(np.float32)
        del self._received[:_BLOCK_BYTES]
        resampled = self._resampler.resample_chunk(block / 32768.0, last=is_last).clip(-1.0, 1.0)
        self._resampled = np.concatenate([self._resampled, resampled])
        if is_last:
            self._is_flushed = True
            self._resampled = np.pad(self._resampled, (0, -len(self._resampled) % FRAME_SAMPLES))
        return True


class _Slot:
    """A segment being spoken: what has come of it and what was handed on."""

    def __init__(self, speech: EspeakSpeech, segment: Segment, opened_s: float) -> None:
        self.speech = speech
        self.n_emitted = 0
        self.is_cancelled = False
        self._opened_s = opened_s
        self._n_resumed = segment.resume.n_frames if segment.resume else 0
        self._max_frames = segment.max_frames
        self._cutter = FrameCutter()

    def due_s(self, pace: float | None, frame: int) -> float:
        """When the frame may be emitted; resumed frames may at once, and the pace counts from them on."""
        if pace is None:
            return -math.inf
        return self._opened_s + max(0, frame - self._n_resumed) / (FRAME_RATE_HZ * pace)

    def advance(self, n_due: int) -> tuple[NDArray[np.float32], Finish | None]:
        """Up to `n_due` frames, as far as they have come, without blocking. Raises EngineError."""
        n_left = self._max_frames - self.n_emitted
        pcm = self._take(min(n_due, n_left))
        n_frames = len(pcm) // FRAME_SAMPLES
        self.n_emitted += n_frames
        if n_frames == n_due:
            return pcm, None
        # One frame more tells a text that just fits the budget from one that was cut short.
        if n_frames == n_left and len(self._take(1)):
            return pcm, Finish.LENGTH
        return pcm, Finish.STOP if self.speech.ended else None

    def _take(self, n_frames: int) -> NDArray[np.float32]:
        pcm = self._cutter.take(n_frames, is_end=self.speech.ended)
        while len(pcm) < n_frames * FRAME_SAMPLES and not self.speech.ended:
            data = self.speech.read()
            if not data and not self.speech.ended:
                break
            self._cutter.feed(data)
            n_missing = n_frames - len(pcm) // FRAME_SAMPLES
            pcm = np.concatenate([pcm, self._cutter.take(n_missing, is_end=self.speech.ended)])
        return pcm


class PreviewEngine:
    """Speaks up to `n_slots` segments at once with espeak-ng.

    pace: at most this many times real time, None for as fast as it goes. The time a slot is held counts, so a
    slot released after a while catches up. clock: seconds, monotonic.
    """

    def __init__(self, n_slots: int, pace: float | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        if n_slots < 1:
            raise ValueError(f"n_slots is {n_slots}; at least one is needed")
        if pace is not None and not 0 < pace < math.inf:
            raise ValueError(f"pace is {pace}; give a number above 0, or None for no limit")
        self._n_slots = n_slots
        self._pace = pace
        self._clock = clock
        self._slots: dict[int, _Slot] = {}
        self._espeak = Espeak()
        self._is_closed = False

    @property
    def name(self) -> str:
        return "preview-espeak-ng"

    @property
    def n_slots(self) -> int:
        return self._n_slots

    @property
    def has_codes(self) -> bool:
        return False

    @property
    def arithmetic(self) -> Arithmetic:
        """espeak-ng and soxr compute alike wherever their version and the processor are the same."""
        parts = [f"{package}-{installed(package)}" for package in _COMPUTES_WITH]
        return Arithmetic(" ".join(["preview", processor(), *parts])[:256], is_exact=True)

    @property
    def host_pid(self) -> int | None:
        """The process id of espeak-ng's host, or None while there is none."""
        return self._espeak.pid

    def warm_up(self, voices: Sequence[Card]) -> None:
        """Start espeak-ng, look up the cards' voices and speak a word with one. Raises EngineError."""
        self._refuse_closed()
        speakable = [card for card in voices if self._can_speak(card)]
        if not speakable:
            self._espeak.check("en")
            return
        card, language = speakable[0], speakable[0].languages[0]
        segment = Segment(_WARM_UP_TEXT, language, card, seed=0, max_frames=_WARM_UP_FRAMES)
        slot = _Slot(self._speak(segment), segment, self._clock())
        try:
            while slot.advance(MAX_STEP_FRAMES)[1] is None:
                wait_for_samples([slot.speech], _STEP_WAIT_S)
        finally:
            slot.speech.close()

    def _can_speak(self, voice: Card) -> bool:
        try:
            self.check(voice)
        except VoiceUnavailable:
            return False
        return True

    def check(self, voice: Card) -> None:
        """Return when espeak-ng has a voice for one of the card's languages. Raises VoiceUnavailable.

        The others are refused by `open`.
        """
        self._refuse_closed()
        problem = VoiceUnavailable(f"the card of {voice.name!r} names no language")
        for language in voice.languages:
            try:
                self._espeak.check(self._voice_of(voice, language, ""))
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
            raise EngineError(f"all {self._n_slots} slots are busy: step until one has ended")
        self._slots[slot] = _Slot(self._speak(segment), segment, self._clock())
        return slot

    def _speak(self, segment: Segment) -> EspeakSpeech:
        preview = segment.voice.preview
        voice = self._voice_of(segment.voice, segment.language, segment.text)
        return self._espeak.speak(Request(segment.text, voice, preview.rate_wpm, preview.pitch))

    def _voice_of(self, card: Card, language: str, text: str) -> str:
        voice = espeak_voice(card, language, text)
        if voice is None:
            raise VoiceUnavailable(f"the preview engine has no voice for {language!r}: choose another language")
        return voice

    def step(self, held: Collection[int] = ()) -> list[Frames]:
        """At most 12 due frames of every slot; waits up to 20 ms when frames are due and none has come."""
        self._refuse_closed()
        stepped = self._advance(held)
        if stepped:
            return stepped
        due = [slot.speech for n, slot in self._slots.items() if n not in held and self._n_due(slot)]
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
            self._espeak.restart()
            return Frames(n, first_frame, silence, error=error)
        return Frames(n, first_frame, pcm, finish=finish)

    def _n_due(self, slot: _Slot) -> int:
        now_s, first = self._clock(), slot.n_emitted
        frames = range(first, first + MAX_STEP_FRAMES)
        return sum(1 for frame in frames if slot.due_s(self._pace, frame) <= now_s + _ROUNDING_S)

    def wait_s(self, held: Collection[int] = ()) -> float:
        """Seconds until a slot's next frame is due: 0 at once, inf when no slot but held ones is open."""
        waits = [self._wait_s(slot) for n, slot in self._slots.items() if slot.is_cancelled or n not in held]
        return min(waits, default=math.inf)

    def _wait_s(self, slot: _Slot) -> float:
        wait_s = slot.due_s(self._pace, slot.n_emitted) - self._clock()
        return 0.0 if slot.is_cancelled or wait_s <= _ROUNDING_S else wait_s

    def cancel(self, slot: int) -> None:
        """End this slot's segment; the next step reports it, held or not. A free slot is left alone."""
        if slot in self._slots:
            self._slots[slot].is_cancelled = True
            self._slots[slot].speech.close()

    def close(self) -> None:
        """End every segment and the espeak-ng process. Safe to call twice."""
        self._is_closed = True
        for n in list(self._slots):
            self._free(n)
        self._espeak.close()

    def _free(self, n: int) -> None:
        self._slots.pop(n).speech.close()

    def _refuse_closed(self) -> None:
        if self._is_closed:
            raise EngineClosed("the preview engine is closed")
