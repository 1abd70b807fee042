"""Our engine's part of `bench engine`: n utterances at once, timed from the call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.bench.upstream import UpstreamClip
from worker.engine.base import FRAME_S, SAMPLE_RATE_HZ
from worker.engine.qwen import QwenEngine, Sampling, SpeechRequest, Voice
from worker.engine.qwen.chunks import Schedule

TEXT = "Hello there, this is a sentence of about four seconds."
OTHER_TEXT = "Well, another text has been spoken in the same voice before."
LANGUAGE = "English"
TRANSCRIPT = "Some words that were recorded, five seconds of them."
REFERENCE_S = 5
N_MORE_FIRSTS = 4  # first audio takes little time, so a round measures it as many times more
NEVER = 10**6  # frames of a chunk that no utterance fills: the codec is not called before its end

Codes = NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class Round:
    """One round at one number of streams.

    wall_s: from the call to the last sample. codes: of each utterance. firsts_s: from the call to an utterance's first
    samples. step_s: a step of all of them without the codec.
    """

    wall_s: float
    codes: list[Codes]
    firsts_s: list[float]
    step_s: float

    @property
    def n_frames(self) -> int:
        return max(len(codes) for codes in self.codes)

    @property
    def frame_s(self) -> float:
        return self.wall_s / self.n_frames

    @property
    def audio_rate(self) -> float:
        return sum(len(codes) for codes in self.codes) * FRAME_S / self.wall_s


class Streams:
    """An engine with a voice and the utterance that it is timed with."""

    def __init__(self, engine: QwenEngine, n_frames: int) -> None:
        made = recording()
        self.engine = engine
        self.voice: Voice = engine.prompt(made.audio, made.sample_rate_hz, made.transcript, "icl")
        self.utterance = SpeechRequest(
            TEXT, self.voice, LANGUAGE, sampling=Sampling(greedy=True), seed=0, max_frames=n_frames
        )

    def round(self, n: int) -> Round:
        """Speak n utterances at once; measure first audio and step several times more."""
        parts: list[list[Codes]] = [[] for _ in range(n)]
        firsts: dict[int, float] = {}
        self._speak_another(n)
        began = perf_counter()
        for event in self.engine.stream([self.utterance] * n):
            if len(event.pcm):
                firsts.setdefault(event.index, perf_counter() - began)
            parts[event.index].append(event.codes)
        wall_s = perf_counter() - began
        more = [seconds for _ in range(N_MORE_FIRSTS) for seconds in self.first_audio_s(n)]
        return Round(wall_s, [np.concatenate(part) for part in parts], [*firsts.values(), *more], self.step_s(n))

    def first_audio_s(self, n: int) -> list[float]:
        """The times to first audio of n utterances at once, which are dropped then."""
        firsts: dict[int, float] = {}
        self._speak_another(n)
        began = perf_counter()
        events = self.engine.stream([self.utterance] * n)
        while len(firsts) < n:
            firsts.setdefault(next(events).index, perf_counter() - began)
        events.close()
        return list(firsts.values())

    def _speak_another(self, n: int) -> None:
        """Begin n utterances of another text. As in use, the engine then holds the voice's part of a prompt alone."""
        for _ in self.engine.stream([replace(self.utterance, text=OTHER_TEXT, max_frames=1)] * n):
            pass

    def reference_s(self) -> float:
        """The time to decode the reference's codes, which a cached state saves."""
        voice = self.voice
        began = perf_counter()
        self.engine.voice(voice.mode, voice.speaker, voice.codes, voice.transcript)
        return perf_counter() - began

    def step_s(self, n: int) -> float:
        """The median time of a step of n utterances without the codec."""
        batch = self.engine.batch(Schedule((NEVER,), is_exact=True), is_live=False)
        for _ in range(n):
            batch.open(self.engine.prepare(self.utterance))
        times = []
        while batch.open_slots:
            began = perf_counter()
            batch.step()
            times.append(perf_counter() - began)
        return median(times[1:-1])


def report(n: int, rounds: Sequence[Round]) -> dict[str, Any]:
    """The figures of n streams."""
    frame_s = median(taken.frame_s for taken in rounds)
    return {
        "frames": rounds[0].n_frames,
        "first_audio_ms": first_audio_ms([seconds for taken in rounds for seconds in taken.firsts_s]),
        "frame_ms": round(frame_s * 1000, 3),
        "frame_without_codec_ms": round(median(taken.step_s for taken in rounds) * 1000, 3),
        "real_time_factor": round(frame_s / FRAME_S, 4),
        "audio_s_per_s": round(median(taken.audio_rate for taken in rounds), 3),
        "rounds_s": [round(taken.wall_s, 4) for taken in rounds],
    }


def first_audio_ms(seconds: Sequence[float]) -> dict[str, float]:
    p50, p95 = np.percentile(np.array(seconds) * 1000, [50, 95])
    return {"p50": round(float(p50), 2), "p95": round(float(p95), 2), "samples": len(seconds)}


@cache
def recording() -> UpstreamClip:
    """A synthetic reference, always the same: a gliding harmonic tone with syllables. Peak 0.5."""
    rng = np.random.default_rng(5)
    t = np.arange(REFERENCE_S * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    phase = 2 * np.pi * np.cumsum(140 * (1 + 0.05 * np.sin(2 * np.pi * 1.3 * t))) / SAMPLE_RATE_HZ
    tone = sum(rng.uniform(0.2, 1) / k * np.sin(k * phase + rng.uniform(0, 6)) for k in range(1, 12))
    speech = tone * (0.2 + 0.8 * np.abs(np.sin(2 * np.pi * 1.1 * t))) + 0.01 * rng.standard_normal(len(t))
    audio: NDArray[np.float32] = (0.5 * speech / np.abs(speech).max()).astype(np.float32)
    return UpstreamClip(audio, SAMPLE_RATE_HZ, TRANSCRIPT)
