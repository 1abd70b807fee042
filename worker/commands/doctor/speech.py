"""Checks the voices, the engine that the settings select, and the speed of this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from worker.commands.doctor.findings import Finding, fail, ok, unless, warn
from worker.engine.base import SAMPLE_RATE_HZ, Engine, EngineError, Segment
from worker.engine.checkpoint.packages import installed
from worker.engine.choose import preview_engine, qwen_problem
from worker.settings import Settings
from worker.voices.card import Card
from worker.voices.registry import Registry, RegistryError

WORD, LANGUAGE = "Ready.", "English"
SENTENCES = "This is how fast this machine speaks. " * 4
SPEECH_TIMEOUT_S = 20.0
SLOW_FIRST_MS = 500.0
_CARD = Card(name="doctor", languages=(LANGUAGE,), licence="none", consent="none", folder=Path("doctor"))
SLOW_RTF = 0.25  # several concurrent utterances must still be faster than real time


def check_voices(settings: Settings) -> Iterator[Finding]:
    """The voices' folder and the default voice."""
    try:
        registry = Registry.load(settings.voices_dir)
    except RegistryError as error:
        for problem in error.problems:
            yield fail("voices", problem, "correct it, then: makima-tts voices check")
        return
    yield ok("voices", f"{', '.join(registry.names)} in {settings.voices_dir.absolute()}")
    name = settings.default_voice
    card = registry.cards.get(name)
    if card is None:
        advice = "set MAKIMA_TTS_DEFAULT_VOICE or --voice to one of these voices"
        yield fail("default voice", f"{name!r} is none of {', '.join(registry.names)}", advice)
    elif card.reference_problem:
        advice = f"{card.reference_problem}; or choose another voice with MAKIMA_TTS_DEFAULT_VOICE"
        yield warn("default voice", f"{name} is incomplete: only the preview engine can speak it", advice)
    else:
        yield ok("default voice", f"{name} is ready")


def check_engine(settings: Settings) -> Iterator[Finding]:
    """The engine of a worker with these settings, and the reason where it is not Qwen3-TTS."""
    if settings.engine == "preview":
        yield ok("engine", "preview, as chosen: a stand-in, not the real voice")
        return
    problem = qwen_problem(settings)
    if problem is None:
        yield ok("engine", "qwen")
    elif settings.engine == "qwen":
        yield fail("engine", f"the worker will not start, Qwen3-TTS cannot run: {problem.problem}", problem.remedy)
    elif installed("espeakng-loader") is None:
        yield fail("engine", f"none: Qwen3-TTS cannot run ({problem})", "pip install 'makima-tts[preview]'")
    else:
        detail = f"preview, a stand-in and not the real voice: Qwen3-TTS cannot run ({problem.problem})"
        yield warn("engine", detail, f"for Qwen3-TTS: {problem.remedy}")


@dataclass(frozen=True, slots=True)
class SpeedSample:
    """One measured segment, in seconds."""

    first_s: float
    wall_s: float
    audio_s: float


def check_speed(settings: Settings) -> Iterator[Finding]:
    """Measure the preview engine with a word and some sentences; skipped without espeak-ng."""
    if installed("espeakng-loader") is None:
        return
    try:
        engine = preview_engine(settings, 1)
        try:
            engine.warm_up([_CARD])
            word, speech = _speak(engine, WORD), _speak(engine, SENTENCES)
            spoken_by = ", ".join(f"{one}: {engine.model(_segment('1', one))}" for one in (LANGUAGE, "Japanese"))
        finally:
            engine.close()
    except (EngineError, OSError) as error:
        finding = fail if settings.engine == "preview" else warn
        advice = "pip install --force-reinstall 'makima-tts[preview]'"
        yield finding("preview engine", f"it cannot speak: {error}", advice)
        return
    busy = "the machine is busy or small: end other programs, or take fewer slots"
    first_ms, rtf = word.first_s * 1000, speech.wall_s / speech.audio_s
    detail = f"{spoken_by}; the first samples {first_ms:.0f} ms after a segment's start"
    yield unless(first_ms < SLOW_FIRST_MS, warn("preview engine", detail, busy))
    detail = f"preview real-time factor {rtf:.4f} over {speech.audio_s:.1f} s of speech, {os.cpu_count()} cores"
    yield unless(rtf < SLOW_RTF, warn("speed", detail, busy))


def _segment(text: str, language: str) -> Segment:
    return Segment(text, language, _CARD, seed=0, max_frames=1000)


def _speak(engine: Engine, text: str) -> SpeedSample:
    """Speak and discard the samples. Raises EngineError, also after SPEECH_TIMEOUT_S."""
    began, first_s, n_samples = perf_counter(), 0.0, 0
    engine.open(_segment(text, LANGUAGE))
    while perf_counter() - began < SPEECH_TIMEOUT_S:
        for frames in engine.step():
            if frames.error:
                raise frames.error
            n_samples += len(frames.pcm)
            first_s = first_s or perf_counter() - began
            if frames.ended:
                return _measured(first_s, perf_counter() - began, n_samples)
    raise EngineError(f"{len(text)} characters were not spoken within {SPEECH_TIMEOUT_S:.0f} s")


def _measured(first_s: float, wall_s: float, n_samples: int) -> SpeedSample:
    if not n_samples:
        raise EngineError("it gave no samples")
    return SpeedSample(first_s, wall_s, n_samples / SAMPLE_RATE_HZ)
