"""`bench preview`: how soon the preview engine's voices are heard, beside espeak-ng in the same rounds."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

from worker.engine.base import SAMPLE_RATE_HZ, EngineError, Segment
from worker.engine.preview.engine import PreviewEngine
from worker.engine.preview.espeak import Espeak
from worker.engine.processor import processor
from worker.voices.card import Card

TEXTS = {
    "a short sentence": "Hello, this is Makima. Tell me what you would like to hear.",
    "a clause first": "When all of this has come to its end, we go home together, all of us.",
    "no clause in 80 characters": "The quick brown fox jumps over the lazy dog and nobody in the town is surprised.",
}
AUDIBLE = 0.003
_CARD = Card(name="bench", languages=("English",), licence="none", consent="none", folder=Path("bench"))


def run(out: str, n_rounds: int) -> int:
    """Print or write the figures: milliseconds to the first audible sample, real-time factor, ratios."""
    engines = {"espeak-ng": PreviewEngine(1, synthesiser=Espeak()), "natural": PreviewEngine(1)}
    try:
        for engine in engines.values():
            engine.warm_up([_CARD])
        texts = {name: _compared(engines, text, n_rounds) for name, text in TEXTS.items()}
    finally:
        for engine in engines.values():
            engine.close()
    figures = {"processor": processor(), "rounds": n_rounds, "texts": texts}
    if out == "-":
        json.dump(figures, sys.stdout, indent=1)
        print()
    else:
        Path(out).write_text(json.dumps(figures, indent=1), "utf-8")
    return 0


def _compared(engines: dict[str, PreviewEngine], text: str, n_rounds: int) -> dict[str, object]:
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in engines}
    for _ in range(n_rounds):
        for name, engine in engines.items():
            measured[name].append(_heard(engine, text))
    figures: dict[str, object] = {
        name: {
            "first_audible_ms": round(median(first for first, _ in rounds), 1),
            "first_audible_ms_lowest": round(min(first for first, _ in rounds), 1),
            "rtf": round(median(rtf for _, rtf in rounds), 4),
        }
        for name, rounds in measured.items()
    }
    ratios = [ours[0] / theirs[0] for ours, theirs in zip(measured["natural"], measured["espeak-ng"], strict=True)]
    return figures | {"first_audible_ratio": round(median(ratios), 2)}


def _heard(engine: PreviewEngine, text: str) -> tuple[float, float]:
    """Milliseconds to the first audible sample, and the real-time factor. Raises EngineError."""
    began, first_ms, n_samples, has_ended = perf_counter(), 0.0, 0, False
    engine.open(Segment(text, "English", _CARD, seed=0, max_frames=1000))
    while not has_ended:
        for frames in engine.step():
            if frames.error:
                raise frames.error
            audible = np.flatnonzero(np.abs(frames.pcm) > AUDIBLE)
            if audible.size and not first_ms:
                first_ms = (perf_counter() - began) * 1000
            n_samples += len(frames.pcm)
            has_ended = frames.ended
    if not n_samples:
        raise EngineError("the preview engine gave no samples")
    return first_ms, (perf_counter() - began) / (n_samples / SAMPLE_RATE_HZ)
