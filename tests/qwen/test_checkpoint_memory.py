"""The memory that doctor and the loader predict is that of the real model and its slots, counted on fake tensors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.checkpoint_shapes import SIZES, codec_config, model_config
from tests.qwen.fake_gpu import fake_model, fake_tensors
from worker.engine.checkpoint import memory as footprint
from worker.engine.qwen.codec.decoder import Codec
from worker.engine.qwen.predictor import Predictor
from worker.engine.qwen.state import Arena
from worker.engine.qwen.talker import Talker

BFLOAT16_BYTES = 2


def tensors_of(owner: Any, seen: set[int]) -> Iterable[Tensor]:
    """Every tensor that an object of ours, or a module, keeps."""
    if id(owner) in seen:
        return
    seen.add(id(owner))
    if isinstance(owner, Tensor):
        yield owner
    elif isinstance(owner, torch.nn.Module):
        yield from (*owner.parameters(), *owner.buffers())
    elif isinstance(owner, dict | list | tuple):
        for part in owner.values() if isinstance(owner, dict) else owner:
            yield from tensors_of(part, seen)
    elif type(owner).__module__.startswith("worker."):
        names: Iterable[str] = vars(owner) if hasattr(owner, "__dict__") else owner.__slots__
        for name in names:
            yield from tensors_of(getattr(owner, name), seen)


def n_bytes(*owners: Any) -> int:
    seen: set[int] = set()
    storages = {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in tensors_of(owners, seen)}
    return sum(storages.values())


@pytest.mark.parametrize("n_slots", [1, 8, 64])
def test_slots_take_what_doctor_says_and_weights_are_held_once(n_slots: int) -> None:
    with fake_tensors(), torch.inference_mode():
        model = fake_model("full")
        modules: Any = (model.talker, model.codec.decoder)
        for_weights = n_bytes(*modules)
        talker = Talker(model.talker, n_slots + 1, footprint.N_POSITIONS, "sdpa")
        predictor = Predictor(modules[0].code_predictor, n_slots + 1)
        arena = Arena(n_slots, talker, predictor.n_codes)
        codec = Codec(modules[1], n_slots, consume=True)
        held = n_bytes(*modules, talker, predictor, arena, codec)
        for_slots = n_bytes(talker.caches, predictor._caches, codec._state)
    size = SIZES["full"]
    talker_config = model_config(size, {})["talker_config"]
    numbers = footprint.cache_numbers(talker_config) + footprint.codec_numbers(codec_config(size)["decoder_config"])
    assert for_slots == pytest.approx((n_slots + 1) * numbers * BFLOAT16_BYTES, rel=0.01)
    assert held - for_slots == pytest.approx(for_weights, rel=0.01)
