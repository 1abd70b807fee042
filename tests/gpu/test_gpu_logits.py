"""Teacher-forced: with the same codes before them, every kernel's logits are the CPU's within its precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from tests.gpu.conftest import Load
from worker.engine.qwen import QwenEngine
from worker.engine.qwen.cuda import attention

N_PROMPT, N_FRAMES = 90, 40
# Root mean square of the difference, in standard deviations of the logits. Norms are float32 in every engine, and a
# bfloat16 number has 8 bits.
TOLERANCE = {"float64": 1e-6, "float32": 1e-4, "float16": 0.01, "bfloat16": 0.06}


def given(width: int) -> tuple[Tensor, NDArray[np.uint16]]:
    """A prompt's embeddings, and codes to be read after it."""
    rng = np.random.default_rng(3)
    return torch.from_numpy(rng.standard_normal((N_PROMPT, width))), rng.integers(0, 2048, (N_FRAMES, 16), np.uint16)


@torch.inference_mode()
def logits(engine: QwenEngine) -> list[NDArray[np.float64]]:
    """The talker's [frames, 3072], and each of the predictor's fifteen [frames, 2048]."""
    runner = engine._runner
    talker, predictor = runner._talker, runner._predictor
    prompt, codes = given(talker.embedding.shape[1])
    embeds = prompt.to(runner.device, talker.embedding.dtype)
    found: list[list[Tensor]] = [[] for _ in range(16)]
    row = torch.zeros(1, dtype=torch.int64, device=runner.device)
    with attention(runner.device):
        talker.prefill(embeds[:-1], 0)
        x = embeds[-1:]
        for n, frame in enumerate(codes):
            position = torch.full((1,), N_PROMPT - 1 + n, device=runner.device)
            hidden = talker.step(x, row, position)
            found[0].append(talker.logits(hidden))

            def forced(scores: Tensor, codebook: int, frame: NDArray[np.uint16] = frame) -> Tensor:
                found[codebook].append(scores)
                code = runner.upload_codes(frame[codebook : codebook + 1])
                return predictor.tables[codebook - 1].index_select(0, code)

            predictor.frame(hidden, talker.embedding.index_select(0, runner.upload_codes(frame[:1])), forced)
            x = runner.embed(frame[None])
    return [torch.cat(part).double().cpu().numpy() for part in found]


def distance(some: list[NDArray[np.float64]], others: list[NDArray[np.float64]]) -> float:
    """The largest of the sixteen codebooks'."""
    return max(float(np.sqrt(np.square(a - b).mean()) / b.std()) for a, b in zip(some, others, strict=True))


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_logits_are_those_of_a_cpu(load: Load, dtype: str) -> None:
    assert distance(logits(load("cuda", dtype)), logits(load("cpu", "float64"))) < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_flash_attention_gives_the_same_logits(load: Load, dtype: str) -> None:
    pytest.importorskip("flash_attn", reason="flash-attn is not installed")
    flash, sdpa = (logits(load("cuda", dtype, 7, kernel)) for kernel in ("flash", "sdpa"))
    assert distance(flash, sdpa) < TOLERANCE[dtype]


def test_a_gpus_bfloat16_is_no_worse_than_a_cpus(load: Load) -> None:
    true = logits(load("cpu", "float64"))
    assert distance(logits(load("cuda", "bfloat16")), true) < 1.5 * distance(logits(load("cpu", "bfloat16")), true)
