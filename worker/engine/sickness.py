"""Whose fault a failure is: the utterance's, whose job is tried again, or the engine's, which ends its worker.

A CUDA error leaves the process without a usable GPU until it ends. After any other failure the engine is asked for a
sentence that every engine can speak: one that speaks it is well, and the utterance was at fault.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from worker.engine.base import Segment
from worker.voices.card import Card

SICK_AFTER = 3  # failures in a row, those of the known sentence included
PROBE_STEPS = 200  # most steps to wait for the known sentence's first frame; preview's take up to 20 ms each
PROBE_FRAMES = 8

_TYPES = {"AcceleratorError", "CudaError", "DeferredCudaCallError"}  # by name: this imports no torch
_WORDS = ("cuda error", "cuda driver error", "hip error", "device-side assert", "illegal memory access")
_OUT_OF_MEMORY = ("out of memory", "alloc_failed")  # of one utterance, perhaps; the context stays usable


def is_beyond_repair(error: BaseException) -> bool:
    """True for a CUDA error, also one that another error was raised from; False for lack of memory."""
    return any(_is_cuda_error(one) for one in _chain(error))


def probe_of(voices: Sequence[Card]) -> Segment | None:
    """A short sentence in the first voice's first language; None without a voice."""
    if not voices:
        return None
    card = voices[0]
    return Segment("Ready.", card.languages[0], card, seed=0, max_frames=PROBE_FRAMES)


def in_a_line(error: BaseException) -> str:
    """The error's type and the first line of its text: torch's go on for a page."""
    first = (str(error).strip().splitlines() or ["no reason was given"])[0]
    return f"{type(error).__name__}: {first}"


def _is_cuda_error(error: BaseException) -> bool:
    text = str(error).lower()
    if any(words in text for words in _OUT_OF_MEMORY):
        return False
    is_type = any(kind.__name__ in _TYPES for kind in type(error).__mro__)
    return is_type or (isinstance(error, RuntimeError) and any(words in text for words in _WORDS))


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        yield at
        at = at.__cause__ or at.__context__
