"""Tests of a CUDA device. Without one they are skipped with the reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from benchmarks import checkpoint
from tests.qwen.conftest import SAMPLE_RATE_HZ, reference_audio
from worker.engine.checkpoint.devices import why_no_gpu
from worker.engine.qwen import QwenEngine, Sampling, SpeechRequest

N_FRAMES = 30
GREEDY = Sampling(greedy=True)
Load = Callable[..., QwenEngine]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is in this folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.gpu)
            item.add_marker(pytest.mark.timeout(600))  # an engine of 64 slots captures hundreds of graphs


@cache
def obstacle() -> str:
    import torch

    return "" if torch.cuda.is_available() else why_no_gpu(torch)


@pytest.fixture(scope="session", autouse=True)
def gpu() -> Iterator[None]:
    """A device, in whose float32 products nothing is rounded to fewer bits."""
    if obstacle():
        pytest.skip(f"no CUDA device: {obstacle()}")
    with exact_products():
        yield


@contextmanager
def exact_products() -> Iterator[None]:
    """cuDNN as when serving, but without TF32. `flags` turns cuDNN off unless `enabled` is given."""
    import torch

    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


@pytest.fixture(scope="session")
def model(gpu: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint most of whose utterances end within thirty frames."""
    folder = tmp_path_factory.mktemp("checkpoints") / "ending-soon"
    checkpoint.write("tiny", folder, eos_boost=2.5)
    return folder


@pytest.fixture(scope="session")
def load(model: Path) -> Load:
    """Engines of that checkpoint, made once for each choice."""

    @cache
    def made(
        device: str = "cuda", dtype: str = "float64", slots: int = 7, attention: str = "auto", kernels: str = "auto"
    ) -> QwenEngine:
        is_graphed = device == "cuda"
        return QwenEngine.load(
            str(model),
            device=device,
            dtype=dtype,
            slots=slots,
            attention=attention,
            kernels=kernels,
            max_positions=384,
            warm=is_graphed,
        )

    return made


def utterances(engine: QwenEngine, n: int = 7) -> list[SpeechRequest]:
    """Greedy and sampled, of two voices, in both of upstream's modes, of many lengths."""
    icl = engine.prompt(reference_audio(31, 3.4), SAMPLE_RATE_HZ, "Some words of a reference.", "icl")
    x_vector = engine.prompt(reference_audio(32, 3.0), SAMPLE_RATE_HZ, None, "x_vector")
    kinds = (
        (icl, GREEDY),
        (x_vector, Sampling()),
        (icl, Sampling(top_p=0.9)),
        (x_vector, Sampling(temperature=1.1, top_k=20, predictor_top_k=5)),
        (x_vector, Sampling(greedy=True, repetition_penalty=1.5)),
    )
    made = []
    for seed in range(n):
        voice, sampling = kinds[seed % len(kinds)]
        text = "This is what is said of it, word by word."[: 5 + 7 * (seed % 6)]
        frames = 1 + (7 * seed + 23) % N_FRAMES
        made.append(SpeechRequest(text, voice, "en", sampling, seed, frames, whole_text=seed % 3 != 0))
    return made
