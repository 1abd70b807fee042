"""A voice's prompt: its recording prepared for the encoder, and the encoder's tensors kept from start to start.

    prompt = prompt_of(card, PromptCache(folder), model.fingerprint, "bfloat16", encode)

The encoder is handed in, for nothing here knows of torch. A cached prompt is taken only for the very same weights,
dtype, audio, transcript and mode; whatever else is found in its place is named in the log, and built again.

Errors: UnusableReference (a ValueError). The cache raises none: without it prompts are built at every start.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from worker.audio.resample import ENGINE_RATE_HZ
from worker.voices.card import Card
from worker.voices.prompt_cache import PromptCache, Tensors
from worker.voices.reference import Recording, UnusableReference, recording_of

SAMPLE_RATE_HZ = ENGINE_RATE_HZ  # what the model's encoders take
SILENCE_S = 0.5  # after the reference: without it the model begins with the reference's last words
FORMAT = "makima-tts prompt 1"  # part of every fingerprint: raise it when `prepare` or the encoder's tensors change

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reference:
    """What the encoder is given. audio: float32 [n], mono. transcript: None in mode "x_vector", which uses none."""

    audio: NDArray[np.float32]
    sample_rate_hz: int
    transcript: str | None
    mode: str


Encode: TypeAlias = Callable[[Reference], Mapping[str, NDArray[Any]]]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A voice's tensors by name, as the encoder gave them. was_cached: no encoder ran for them."""

    tensors: Tensors
    reference: Reference
    was_cached: bool


def prepare(card: Card) -> Reference:
    """Read a voice's recording as the encoder is to hear it: mono, 24 kHz, half a second of silence after it.

    Raises UnusableReference for a card that is incomplete, and for a recording that went bad since it was checked.
    """
    if card.reference_problem is not None:
        raise UnusableReference(f"{card.name}: {card.reference_problem}")
    try:
        recording = recording_of(card)
    except UnusableReference as error:
        raise UnusableReference(f"{card.name}: {error.problem}", error.remedy) from error
    silence = np.zeros(int(SILENCE_S * SAMPLE_RATE_HZ), dtype=np.float32)
    transcript = card.transcript if card.mode == "icl" else None
    return Reference(np.concatenate((_resampled(recording), silence)), SAMPLE_RATE_HZ, transcript, card.mode)


def fingerprint(model: str, dtype: str, reference: Reference) -> str:
    """The sha256, in hex, of everything that a prompt's tensors follow from. model: the fingerprint of all weights."""
    digest = hashlib.sha256()
    texts = (FORMAT, model, dtype, reference.mode, str(reference.sample_rate_hz))
    said = b"" if reference.transcript is None else b"said " + reference.transcript.encode()
    for field in (*map(str.encode, texts), said, reference.audio.astype("<f4").tobytes()):
        digest.update(len(field).to_bytes(8, "little"))  # else "ab" + "c" would be "a" + "bc"
        digest.update(field)
    return digest.hexdigest()


def prompt_of(card: Card, cache: PromptCache | None, model_fingerprint: str, dtype: str, encode: Encode) -> Prompt:
    """Give a voice's prompt from the cache, or have it encoded and keep it.

    model_fingerprint: of the model's and the codec's weights. dtype: the name of what they compute in, "bfloat16".
    encode: gives tensors of numpy's own dtypes. Raises UnusableReference, and what the encoder raises.
    """
    start_s = time.monotonic()
    reference = prepare(card)
    key = fingerprint(model_fingerprint, dtype, reference)
    tensors = None if cache is None else cache.load(card.name, key)
    was_cached = tensors is not None
    if tensors is None:
        tensors = dict(encode(reference))
        if cache is not None:
            cache.store(card.name, key, tensors)
    took_ms = round((time.monotonic() - start_s) * 1000)
    log.info("prompt of %s %s in %d ms", card.name, "read from the cache" if was_cached else "built", took_ms)
    return Prompt(tensors, reference, was_cached)


def _resampled(recording: Recording) -> NDArray[np.float32]:
    if recording.rate_hz == SAMPLE_RATE_HZ:
        return recording.audio
    import soxr

    audio = soxr.resample(recording.audio, recording.rate_hz, SAMPLE_RATE_HZ, quality="HQ")
    return np.asarray(audio, dtype=np.float32)
