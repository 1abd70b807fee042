"""An engine with kernels makes the codes of one without."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.qwen.conftest import SAMPLE_RATE_HZ, reference_audio
from worker.engine.qwen import QwenEngine, Sampling, SpeechRequest

pytest.importorskip("triton")


def test_kernels_make_the_same_codes(tiny: Path, device: torch.device) -> None:
    eager, ours = (
        QwenEngine.load(
            str(tiny), device=str(device), dtype="float32", slots=3, kernels=kernels, max_positions=128, warm=False
        )
        for kernels in ("torch", "triton")
    )
    voice = eager.prompt(reference_audio(7, 1.0), SAMPLE_RATE_HZ, None, "x_vector")
    requests = [
        SpeechRequest("a", voice, "en", Sampling(temperature=1.1, top_k=20), 5, 3, whole_text=True),
        SpeechRequest("b", voice, "en", Sampling(greedy=True), 6, 1, whole_text=False),
    ]
    assert ours.model.kernels == "triton"
    wanted, found = (engine.synthesize(requests, margins=False) for engine in (eager, ours))
    assert [speech.codes.tolist() for speech in found] == [speech.codes.tolist() for speech in wanted]
    assert [len(speech.codes) for speech in found] == [3, 1]
