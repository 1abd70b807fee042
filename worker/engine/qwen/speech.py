"""The library's types: a request for speech, and its results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.jobs import MAX_SEED
from worker.engine.base import N_CODEBOOKS, N_CODES, Finish
from worker.engine.qwen.prompt import Voice
from worker.engine.qwen.sampler import Sampling

USUAL = Sampling()


@dataclass(frozen=True, slots=True)
class SpeechRequest:
    """A text to speak, its voice, and how to speak it.

    language: an English name, an ISO 639-1 code or "Auto". seed: 0 to 2^63-1; None draws one. max_frames: upstream's
    max_new_tokens - 1, which counts resumed frames; None is the text's own budget. whole_text: upstream's
    non_streaming_mode; False reads one token of text with each frame. resume: int [n, 16], codes of an earlier result
    of the same request (text, voice, sampling, seed); the speech continues after them. Raises ValueError.
    """

    text: str
    voice: Voice
    language: str = "Auto"
    sampling: Sampling = USUAL
    seed: int | None = None
    max_frames: int | None = None
    whole_text: bool = True
    resume: NDArray[np.integer] | None = None

    def __post_init__(self) -> None:
        if self.seed is not None and not 0 <= self.seed <= MAX_SEED:
            raise ValueError(f"seed is {self.seed}; give a number from 0 to 2^63-1, or None")
        if self.max_frames is not None and self.max_frames < 1:
            raise ValueError(f"max_frames is {self.max_frames}; give at least 1, or None")
        if self.resume is not None:
            if self.resume.ndim != 2 or self.resume.shape[1] != N_CODEBOOKS:
                raise ValueError(f"resume has the shape {list(self.resume.shape)}; give codes [frames, {N_CODEBOOKS}]")
            if not np.issubdtype(self.resume.dtype, np.integer) or ((self.resume < 0) | (self.resume >= N_CODES)).any():
                raise ValueError(f"resume holds other values than codes; give integers from 0 to {N_CODES - 1}")


class Event(NamedTuple):
    """New frames of the request at `index`: codes uint16 [n, 16], pcm float32 [n * 1920]. finish: set with the last."""

    index: int  # type: ignore[assignment]
    codes: NDArray[np.uint16]
    pcm: NDArray[np.float32]
    finish: Finish | None


@dataclass(frozen=True, slots=True)
class SpeechResult:
    """The speech of one request, without the resumed frames.

    codes: uint16 [frames, 16]. pcm: float32 [frames * 1920] at 24 kHz. margins: float32 [frames, 16], for each draw the
    gap between its two best final scores divided by the standard deviation of its logits; None unless asked for.
    """

    codes: NDArray[np.uint16]
    pcm: NDArray[np.float32]
    finish: Finish
    seed: int
    margins: NDArray[np.float32] | None = None
