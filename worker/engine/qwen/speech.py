"""The library's types: a request for speech, and its results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.jobs import MAX_SEED
from worker.engine.base import N_CODEBOOKS, Finish
from worker.engine.qwen.prompt import N_CODES, Voice
from worker.engine.qwen.sampler import Sampling

USUAL = Sampling()


@dataclass(frozen=True, slots=True)
class SpeechRequest:
    """What is to be spoken, and how.

    language: an English name, an ISO 639-1 code or "Auto". seed: 0 to 2^63-1; None draws one. max_frames: upstream's
    max_new_tokens - 1, counting resumed frames; None gives the text's own budget. whole_text: upstream's
    non_streaming_mode; False reads one token of text with each frame. resume: int [n, 16], codes already spoken of this
    very utterance (same text, voice, sampling and seed), which is then gone on with. Raises ValueError.
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
            raise ValueError(f"a seed is 0 to 2^63-1, not {self.seed}")
        if self.max_frames is not None and self.max_frames < 1:
            raise ValueError(f"max_frames is at least 1, not {self.max_frames}")
        if self.resume is not None:
            if self.resume.ndim != 2 or self.resume.shape[1] != N_CODEBOOKS:
                raise ValueError(f"codes to resume are [frames, {N_CODEBOOKS}], not {list(self.resume.shape)}")
            if not np.issubdtype(self.resume.dtype, np.integer) or ((self.resume < 0) | (self.resume >= N_CODES)).any():
                raise ValueError(f"codes to resume are whole numbers, 0 to {N_CODES - 1}")


class Event(NamedTuple):
    """New frames of an utterance: codes uint16 [n, 16], pcm float32 [n * 1920]; finish is set with its last ones."""

    index: int  # type: ignore[assignment]
    codes: NDArray[np.uint16]
    pcm: NDArray[np.float32]
    finish: Finish | None


@dataclass(frozen=True, slots=True)
class SpeechResult:
    """A whole utterance. Resumed frames are not repeated.

    codes: uint16 [frames, 16]. pcm: float32 [frames * 1920] at 24 kHz. margins: float32 [frames, 16], of each draw the
    gap between its two best final scores over the standard deviation of its logits; None where not asked for.
    """

    codes: NDArray[np.uint16]
    pcm: NDArray[np.float32]
    finish: Finish
    seed: int
    margins: NDArray[np.float32] | None = None
