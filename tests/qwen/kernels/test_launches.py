"""How many launches a frame and a prefill are with kernels, counted on fake tensors of the full model's shapes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.qwen.fake_gpu import DEVICE, CaptureRules, fake_model, fake_tensors

pytest.importorskip("triton")
from worker.engine.qwen.frame import FrameStep, Plan
from worker.engine.qwen.predictor import Predictor
from worker.engine.qwen.runner import _suppressed
from worker.engine.qwen.state import Arena
from worker.engine.qwen.talker import Talker

N_ROWS, N_LAYERS = 4, 28
N_PASSES = N_LAYERS + 15 * 5  # a frame's passes through a layer: the talker's, and the predictor's of five layers


@pytest.fixture(scope="module")
def step() -> Iterator[tuple[Talker, FrameStep]]:
    with fake_tensors(), torch.inference_mode():
        model = fake_model("full")
        config, upstream = model.config.talker_config, model.talker
        talker = Talker(upstream, N_ROWS + 1, 256, "sdpa", "triton")
        predictor = Predictor(upstream.code_predictor, N_ROWS + 1, "triton")  # type: ignore[arg-type]
        arena = Arena(N_ROWS, talker, predictor.n_codes)
        mask, eos = _suppressed(config, DEVICE), int(config.codec_eos_token_id)
        yield talker, FrameStep(talker, predictor, arena, mask, eos, has_kernels=True)


def test_a_frame_is_at_most_1050_launches(step: tuple[Talker, FrameStep]) -> None:
    with CaptureRules() as rules:
        step[1](Plan(N_ROWS))
    launches = rules.kernels
    assert launches.total() <= 1050, launches
    assert launches["makima::attend"] == launches["makima::qk"] == launches["makima::silu_mul"] == N_PASSES
    assert launches["makima::add_rms"] == 2 * N_PASSES
    assert launches["mm"] == 4 * N_PASSES + 16
    assert launches["addmm"] == launches["copy_"] == launches["clone"] == 0, launches


def test_a_packed_prefill_is_nine_launches_a_layer(step: tuple[Talker, FrameStep]) -> None:
    embeds = step[0].embedding[:96]
    tokens = torch.zeros(96, dtype=torch.int64, device=DEVICE)
    with CaptureRules() as rules:
        step[0].prefill_packed(embeds, tokens, tokens, tokens)
    assert rules.kernels.total() <= 9 * N_LAYERS, rules.kernels
    assert rules.kernels["makima::attend_packed"] == N_LAYERS - 1, "the last layer's is not computed"
