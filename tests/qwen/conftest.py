"""A tiny random model for the engine's tests, and upstream's own code on the same weights as the oracle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tests.qwen.exact import Ties

SAMPLE_RATE_HZ = 24_000


def reference_audio(seed: int, seconds: float = 4.0) -> NDArray[np.float32]:
    """A made voice to clone: a gliding harmonic tone with syllables. 24 kHz, float32 [seconds * 24000], peak 0.5."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    pitch_hz = rng.uniform(90, 250) * (1 + 0.05 * np.sin(2 * np.pi * rng.uniform(0.5, 3) * t + rng.uniform(0, 6)))
    phase = 2 * np.pi * np.cumsum(pitch_hz) / SAMPLE_RATE_HZ
    tone = sum(rng.uniform(0.2, 1) / k * np.sin(k * phase + rng.uniform(0, 6)) for k in range(1, 12))
    syllables = 0.2 + 0.8 * np.abs(np.sin(2 * np.pi * rng.uniform(0.7, 2) * t))
    speech = tone * syllables + 0.01 * rng.standard_normal(len(t))
    audio: NDArray[np.float32] = (0.5 * speech / np.abs(speech).max()).astype(np.float32)
    return audio


@pytest.fixture(scope="session", autouse=True)
def every_test_on_one_thread(one_thread: None) -> None:
    """Applies `one_thread` to this folder."""


@pytest.fixture(scope="session")
def upstream(tiny: Path) -> Any:
    """Upstream's Qwen3TTSModel of the tiny checkpoint, float32 on the CPU."""
    import torch
    from qwen_tts import Qwen3TTSModel

    return Qwen3TTSModel.from_pretrained(tiny, dtype=torch.float32)


@pytest.fixture(scope="module")
def ties() -> Iterator[Ties]:
    """Counts a module's near ties, and fails when there are more than one and than 1 %."""
    from tests.qwen.exact import Ties

    counted = Ties()
    yield counted
    counted.check()
