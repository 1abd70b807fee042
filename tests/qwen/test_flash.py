"""flash-attn is called as its documentation requires. The kernel itself needs a GPU: see tests/gpu.

In its place stands what it is documented to compute, flash_attn 2.8: q [B, 1, heads, d], caches [rows, positions,
kv heads, d] with any strides but the last, cache_batch_idx and cache_seqlens int32 [B]: each query attends to the first
so many positions of its row.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.qwen.fake_gpu import DEVICE, CaptureRules, fake_model, fake_tensors
from worker.engine.qwen.loader import Kernels, load
from worker.engine.qwen.talker import Talker

N_ROWS, N_POSITIONS = 4, 96


def flash_attn_with_kvcache(
    q: Tensor, k_cache: Tensor, v_cache: Tensor, *, cache_seqlens: Tensor, cache_batch_idx: Tensor
) -> Tensor:
    assert q.shape[1] == 1
    assert cache_seqlens.dtype == torch.int32
    assert cache_seqlens.is_contiguous()
    assert cache_batch_idx.dtype == torch.int32
    assert len(cache_seqlens) == len(cache_batch_idx) == len(q)
    assert len(k_cache) == len(v_cache)
    k_cache, v_cache = k_cache[cache_batch_idx.long()], v_cache[cache_batch_idx.long()]
    assert k_cache.shape[1] == N_POSITIONS
    assert {x.stride(-1) for x in (q, k_cache, v_cache)} == {1}
    unheard = torch.arange(N_POSITIONS, device=q.device) >= cache_seqlens[:, None]
    k, v = (cache.repeat_interleave(q.shape[2] // cache.shape[2], dim=2) for cache in (k_cache, v_cache))
    scores = torch.einsum("bihd,bjhd->bhij", q, k) / q.shape[-1] ** 0.5
    scores = scores.masked_fill(unheard[:, None, None], -torch.inf)
    return torch.einsum("bhij,bjhd->bihd", scores.softmax(-1), v)


@pytest.fixture(autouse=True)
def flash(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = ModuleType("flash_attn")
    module.flash_attn_with_kvcache = flash_attn_with_kvcache
    monkeypatch.setitem(sys.modules, "flash_attn", module)


@pytest.mark.parametrize(("dtype", "kernels", "near"), [("float64", "torch", 1e-9), ("float32", "loops", 1e-4)])
def test_rows_at_different_positions_hear_what_sdpa_lets_them_hear(
    tiny: Path, dtype: str, kernels: Kernels, near: float
) -> None:
    with torch.inference_mode():
        talkers = [
            Talker(load(str(tiny), device="cpu", dtype=dtype).talker, N_ROWS + 1, N_POSITIONS, attention, kernels)
            for attention in ("flash", "sdpa")
        ]
        generator = torch.Generator().manual_seed(0)
        positions = torch.tensor([70, 3, 40])
        kind = getattr(torch, dtype)
        prompts = [torch.randn(int(n), 64, generator=generator, dtype=kind) for n in positions]
        steps = torch.randn(5, 3, 64, generator=generator, dtype=kind)
        heard = []
        for talker in talkers:
            for row, prompt in zip((2, 0, 3), prompts, strict=True):
                talker.prefill(prompt, row)
            rows = torch.tensor([2, 0, 3])
            heard.append([talker.step(x, rows, positions + n) for n, x in enumerate(steps)])
    for ours, theirs in zip(*heard, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=near, atol=near)


@pytest.mark.parametrize("kernels", ["torch", "triton"])
def test_what_is_done_for_it_can_be_captured(kernels: Kernels) -> None:
    if kernels == "triton":
        pytest.importorskip("triton")
    with fake_tensors(), torch.inference_mode():
        model = replace(fake_model("tiny"), attention="flash")
        talker = Talker(model.talker, N_ROWS + 1, N_POSITIONS, model.attention, kernels)
        rows = torch.arange(2, device=DEVICE)
        with CaptureRules() as rules:
            hidden = talker.step(talker.embedding[:2], rows, rows + 7)
    assert hidden.shape == (2, 64)
    assert rules.kernels["scaled_dot_product_attention"] == 0
    assert rules.kernels["makima::attend"] == 0
