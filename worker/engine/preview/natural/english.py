"""hibari, the English voice. Runs in the voice's process, which has no scipy: with it the samples would differ."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from hibari import SAMPLE_RATE, Hibari, dsp

from worker.engine.preview.natural.japanese import reading
from worker.engine.preview.natural.readable import EnglishText
from worker.engine.preview.natural.samples import levelled, trimmed, with_pause

_SEED = 0  # a job's seed changes nothing, as with the other voices
GAIN = 2.0  # hibari speaks at -26 dBFS
MAX_PHONEMES = 400  # of one call, as in hibari
_PARTS = re.compile(r"(?<=[,;:—.!?…]) ")


def load() -> Callable[[dict[str, Any]], Iterator[bytes]]:
    """Load the model and its dictionaries. The returned function speaks a request: int16 samples at 24 kHz."""
    if dsp.FFT_BACKEND != "numpy":
        raise RuntimeError("hibari computes with scipy")
    hibari = Hibari()  # of its voices only "heart" is in the package; another one would be downloaded
    words = hibari.g2p.lexicon

    def is_known(word: str) -> bool:
        return any(form in words.golds or form in words.silvers for form in (word, word.lower(), word.capitalize()))

    text = EnglishText(set(hibari.g2p.oov.cin), hibari.g2p.oov.maxlen, is_known, reading)

    def speak(request: dict[str, Any]) -> Iterator[bytes]:
        n_calls = 0
        for written, pause_ms in request["pieces"]:
            parts = list(_calls(hibari.g2p(text.readable(written))))
            for phonemes in parts:
                noise = np.random.default_rng([_SEED, n_calls])  # of its own: a call depends on no other
                spoken = hibari.from_ids(hibari.ids(phonemes), request["speed"], noise)
                pause = pause_ms if phonemes is parts[-1] else 0
                yield with_pause(trimmed(levelled(spoken, GAIN), SAMPLE_RATE), pause, SAMPLE_RATE)
                n_calls += 1

    return speak


def _calls(phonemes: str) -> Iterator[str]:
    """The phonemes in parts that the model can speak, cut after a mark if possible, else at a blank."""
    while len(phonemes) > MAX_PHONEMES:
        cuts = [mark.start() for mark in _PARTS.finditer(phonemes, 0, MAX_PHONEMES)]
        cut = cuts[-1] if cuts else phonemes.rfind(" ", 1, MAX_PHONEMES)
        cut = cut if cut > 0 else MAX_PHONEMES
        yield phonemes[:cut]
        phonemes = phonemes[cut:].lstrip()
    if phonemes.strip():
        yield phonemes
