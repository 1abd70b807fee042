"""What runs in CUDA graphs keeps capture's rules: shown on fake tensors, which have a GPU's device and no numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException

from tests.qwen.fake_gpu import DEVICE, BreaksCapture, CaptureRules, fake_model, fake_tensors
from worker.engine.qwen.codec.decoder import Codec
from worker.engine.qwen.frame import FrameStep, Plan
from worker.engine.qwen.predictor import Predictor
from worker.engine.qwen.runner import _suppressed
from worker.engine.qwen.state import Arena
from worker.engine.qwen.talker import Talker

N_SLOTS, N_POSITIONS = 4, 256
PLANS = [Plan(3), Plan(1, top_p=True), Plan(4, margins=True), Plan(2, top_p=True, margins=True)]


@dataclass(frozen=True)
class Parts:
    """What a Forward is made of, over fake tensors."""

    talker: Talker
    step: FrameStep
    codec: Codec


def parts_of(size: str, dtype: torch.dtype = torch.bfloat16) -> Parts:
    model = fake_model(size, dtype)
    codec, config, upstream = model.codec, model.config.talker_config, model.talker
    assert isinstance(codec.decoder, torch.nn.Module)
    talker = Talker(upstream, N_SLOTS + 1, N_POSITIONS, "sdpa")
    predictor = Predictor(upstream.code_predictor, N_SLOTS + 1)  # type: ignore[arg-type]
    arena = Arena(N_SLOTS, talker, predictor.n_codes)
    step = FrameStep(talker, predictor, arena, _suppressed(config, DEVICE), int(config.codec_eos_token_id))
    return Parts(talker, step, Codec(codec.decoder, N_SLOTS, consume=True))


@pytest.fixture(autouse=True)
def on_fake_tensors() -> Iterator[None]:
    with fake_tensors(), torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def parts() -> Parts:
    with fake_tensors(), torch.inference_mode():
        return parts_of("tiny")


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_a_frame_can_be_captured(parts: Parts, plan: Plan) -> None:
    with CaptureRules() as rules:
        parts.step(plan)
    assert rules.kernels["index_fill_"] == 1


@pytest.mark.parametrize("n_tokens", [32, 96])
def test_a_prefill_can_be_captured(parts: Parts, n_tokens: int) -> None:
    embeds = parts.talker.embedding.new_zeros(n_tokens, parts.talker.embedding.shape[1])
    with CaptureRules() as rules:
        parts.talker.prefill(embeds, 0)
    assert rules.kernels["index_put_"] == 2 * 2, "keys and values of two layers"


@pytest.mark.parametrize(("n_rows", "n_frames"), [(1, 1), (3, 2), (4, 12)])
def test_a_codec_chunk_can_be_captured(parts: Parts, n_rows: int, n_frames: int) -> None:
    codes = torch.zeros(n_rows, n_frames, 16, dtype=torch.int64, device=DEVICE)
    slots = torch.arange(n_rows, device=DEVICE)
    with CaptureRules() as rules:
        pcm = parts.codec.decode(codes, slots)
    assert pcm.shape == (n_rows, n_frames * 1920)
    assert pcm.dtype == torch.float32
    assert rules.kernels["convolution"] > 0


def test_float32_can_be_captured_too() -> None:
    parts = parts_of("tiny", torch.float32)
    codes = torch.zeros(2, 3, 16, dtype=torch.int64, device=DEVICE)
    with CaptureRules() as rules:
        parts.talker.prefill(parts.talker.embedding[:32], 1)
        parts.step(PLANS[2])
        parts.codec.decode(codes, torch.arange(2, device=DEVICE))
    assert rules.kernels["index_fill_"] == 1


def test_a_frame_of_the_full_model_is_fewer_than_2000_kernels() -> None:
    parts = parts_of("full")
    with CaptureRules() as rules:
        parts.step(Plan(4))
    n_norms = rules.kernels["_fused_rms_norm"]
    n_layers = 28 + 5 * 15
    assert n_norms == 3 * n_layers + 16, "each norm is one kernel"
    assert rules.kernels.total() < 2000, rules.kernels


def attend(mask: Tensor | None, n_queries: int, **options: Any) -> Tensor:
    keys = torch.zeros(2, 4, 64, 16, device=DEVICE)
    queries = torch.zeros(2, n_queries, 1, 16, device=DEVICE)
    return torch.nn.functional.scaled_dot_product_attention(queries, keys, keys, mask, **options)


@pytest.mark.parametrize(
    "breaks",
    [
        lambda x: x.sum().item(),
        lambda x: x.tolist(),
        lambda x: x.nonzero(),
        lambda x: x[x > 0],
        lambda x: 1 if x.sum() > 0 else 0,
        lambda x: x + torch.ones(3),
        lambda x: x.copy_(torch.zeros(3)),
        lambda x: x.cpu(),
        lambda x: x + torch.tensor([1.0, 2.0, 3.0], device=DEVICE),
        lambda x: attend(torch.zeros(2, 1, 1, 64, device=DEVICE), 8, enable_gqa=True),
        lambda x: attend(torch.zeros(2, 1, 1, 66, device=DEVICE)[..., :64][:, :, :, :], 4),
    ],
    ids=["item", "tolist", "nonzero", "boolean index", "branch", "host operand", "host copy", "to host", "literal",
         "grouped mask", "odd mask"],
)  # fmt: skip
def test_what_breaks_capture_is_seen(breaks: Callable[[Tensor], object]) -> None:
    x = torch.zeros(3, device=DEVICE)
    with pytest.raises((BreaksCapture, DataDependentOutputException, DynamicOutputShapeException)), CaptureRules():
        breaks(x)
