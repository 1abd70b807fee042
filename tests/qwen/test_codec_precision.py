"""The codec's weights beside a talker in a half: read again in more bits, and rounded only where they fit."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.qwen.test_codec import at_once, codes_of, decoder_of
from worker.engine.qwen.codec.precision import peak, to_float16
from worker.engine.qwen.loader import load


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_on_a_cpu_the_codec_beside_a_half_is_that_of_float32(tiny: Path, dtype: str) -> None:
    model, wanted = load(str(tiny), device="cpu", dtype=dtype), load(str(tiny), device="cpu", dtype="float32")
    assert model.dtype == getattr(torch, dtype)
    assert model.codec_dtype == torch.float32
    assert next(model.talker.parameters()).dtype == model.dtype
    ours, theirs = model.codec.state_dict(), wanted.codec.state_dict()
    assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_without_a_half_the_codec_has_the_talkers_format(tiny: Path, dtype: str) -> None:
    assert load(str(tiny), device="cpu", dtype=dtype).codec_dtype == getattr(torch, dtype)


def test_a_decoder_whose_numbers_fit_becomes_float16_and_speaks_almost_the_same() -> None:
    decoder = copy.deepcopy(decoder_of(torch.float32))
    sums = [layer._codebook for layer in decoder.quantizer.rvq_rest.vq.layers]
    for book in sums:  # beyond float16, as the sums and counts of a long training are
        book.embedding_sum.mul_(1e5)
        book.cluster_usage.mul_(1e5)
    wanted = at_once(decoder, codes_of(1))
    to_float16(decoder)
    assert {weights.dtype for weights in decoder.parameters()} == {torch.float16}
    noise = at_once(decoder, codes_of(1)) - wanted
    assert wanted.std() / noise.std() > 100


@pytest.mark.parametrize("where", ["decoder.1.block.1.conv", "pre_transformer.layers.0.mlp.down_proj"])
def test_a_decoder_whose_numbers_do_not_fit_stays_float32_and_the_log_has_it(
    where: str, caplog: pytest.LogCaptureFixture
) -> None:
    decoder: Any = copy.deepcopy(decoder_of(torch.float32))
    before = peak(decoder)
    decoder.get_submodule(where).weight.mul_(1e6)
    assert before < 1000 < 16_384 < peak(decoder)
    to_float16(decoder)
    assert {weights.dtype for weights in decoder.parameters()} == {torch.float32}
    assert "computes in float32" in caplog.text
