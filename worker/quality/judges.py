"""All judges together, loaded once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import soxr
from numpy.typing import NDArray

from worker.quality.installed import JUDGES, JudgeError, missing_judges, package_version
from worker.quality.mos import Cleanness, CleannessJudge, NaturalnessJudge
from worker.quality.readings import PACKAGE as READINGS
from worker.quality.recogniser import RATE_HZ, Recogniser
from worker.quality.speaker import SpeakerJudge

Pcm = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the judges find in one piece of speech. speaker: its embedding, None where there is too little sound."""

    words: str
    mos: float
    cleanness: Cleanness
    speaker: NDArray[np.float32] | None


@dataclass(frozen=True, slots=True)
class Judges:
    """A recogniser, two estimates of the mean opinion score, and a speaker embedding."""

    recogniser: Recogniser
    naturalness: NaturalnessJudge
    cleanness: CleannessJudge
    speaker: SpeakerJudge

    @classmethod
    def load(cls) -> Judges:
        """Load every model from its package. Raises JudgeError."""
        if (missing := missing_judges()) is not None:
            raise missing
        try:
            return cls(Recogniser(), NaturalnessJudge(), CleannessJudge(), SpeakerJudge())
        except (ImportError, OSError, RuntimeError, ValueError) as error:
            raise JudgeError(
                f"the judges cannot be loaded ({type(error).__name__}: {error})", "install the extra `quality` again"
            ) from error

    def judge(self, pcm: Pcm, rate_hz: int, language: str) -> Judgement | None:
        """Judge speech; None for one without samples. pcm: float32 [n]."""
        if not pcm.size:
            return None
        heard = at_judges_rate(pcm, rate_hz)
        words = self.recogniser.transcribe(heard, language)
        return Judgement(
            words, self.naturalness.score(heard), self.cleanness.score(heard), self.speaker.embedding(heard)
        )


def at_judges_rate(pcm: Pcm, rate_hz: int) -> Pcm:
    """The samples at 16 kHz, which every judge expects. pcm: float32 [n]."""
    resampled: Pcm = soxr.resample(pcm, rate_hz, RATE_HZ)
    return resampled


def versions() -> dict[str, str | None]:
    """Versions of the judges' packages, and of the readings that Japanese is compared by (None: by characters)."""
    return {name: package_version(name) for name in (*JUDGES, READINGS)}
