"""Two estimates of the mean opinion score, 1 (bad) to 5 (excellent): how natural speech sounds, and how clean it is.

DistillMOS (Microsoft, MIT) rates naturalness and quality. DNSMOS P.835 (Microsoft, MIT) rates speech, background and
both together, and was made for noisy recordings.
"""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 16_000
WINDOW_S = 9.01  # what DNSMOS scores at once


class NaturalnessJudge:
    """DistillMOS. Its model is loaded for the first score, because a check of recordings needs no torch."""

    @cached_property
    def _model(self) -> Any:
        import distillmos

        with redirect_stdout(io.StringIO()):  # it prints the path of its weights
            model = distillmos.ConvTransformerSQAModel()
        return model.eval()

    def score(self, pcm: NDArray[np.float32]) -> float:
        """1 to 5. pcm: float32 [n] at RATE_HZ, n > 0."""
        import torch

        with torch.inference_mode():
            return float(self._model(torch.from_numpy(pcm)[None]).item())


@dataclass(frozen=True, slots=True)
class Cleanness:
    """DNSMOS P.835: of the speech, of the background, and overall; 1 to 5."""

    speech: float
    background: float
    overall: float


class CleannessJudge:
    """DNSMOS P.835."""

    def __init__(self) -> None:
        from speechmos import dnsmos

        self._run: Any = dnsmos.run

    def score(self, pcm: NDArray[np.float32]) -> Cleanness:
        """The three scores. pcm: float32 [n] at RATE_HZ, n > 0."""
        n = max(pcm.size, int(WINDOW_S * RATE_HZ))
        scores = self._run(np.resize(np.clip(pcm, -1, 1), n), RATE_HZ)  # repeated: the package doubles it up to 18 s
        return Cleanness(*(float(scores[name]) for name in ("sig_mos", "bak_mos", "ovrl_mos")))
