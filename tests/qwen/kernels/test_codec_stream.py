"""The kernels of the codec's convolutions compute what eager torch does, and keep each slot's state."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

pytest.importorskip("triton")
from tests.qwen.kernels.test_layers import EVERY_DTYPE, assert_near, numbers
from worker.engine.qwen.codec.tables import vector
from worker.engine.qwen.kernels import codec_stream

N_SLOTS, WIDTH = 12, 4096


def snake(x: Tensor, bias: Tensor, alpha: Tensor, gain: Tensor) -> Tensor:
    """In float64."""
    y = x.double() + bias.double()
    return y + gain.double() * (y * alpha.double()).sin().square()


def vectors(n: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """A bias, alpha and gain."""
    drawn = (numbers(n, dtype=torch.float64, device=device, seed=seed) for seed in (11, 12, 13))
    like = torch.empty(0, dtype=dtype, device=device)
    bias, alpha, gain = (vector(like).new_tensor(part.tolist()) for part in drawn)
    return bias, (alpha / 3).exp(), (gain / 3).exp()


def state_of(dtype: torch.dtype, device: torch.device) -> Tensor:
    return numbers(N_SLOTS, WIDTH, dtype=dtype, device=device, seed=20)


def slots_of(n_rows: int, device: torch.device) -> Tensor:
    return torch.randperm(N_SLOTS, generator=torch.Generator().manual_seed(n_rows))[:n_rows].to(device)


@EVERY_DTYPE
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 33), (2, 70, 96)])
def test_a_snake_with_the_bias_before_it(device: torch.device, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    x, parts = numbers(*shape, dtype=dtype, device=device) * 3, vectors(shape[-1], dtype, device)
    wanted = snake(x, *parts)
    codec_stream.codec_snake_(x, *parts)
    assert_near(x, wanted)


@EVERY_DTYPE
@pytest.mark.parametrize("is_snake", [True, False])
@pytest.mark.parametrize(("shape", "past"), [((1, 1, 1), 2), ((9, 4, 15), 6), ((2, 8, 48), 54), ((3, 61, 16), 54)])
def test_an_input_follows_its_memory_which_becomes_its_end(
    device: torch.device, dtype: torch.dtype, is_snake: bool, shape: tuple[int, int, int], past: int
) -> None:
    n_rows, n, n_channels = shape
    x, state, slots = numbers(*shape, dtype=dtype, device=device) * 3, state_of(dtype, device), slots_of(n_rows, device)
    before, offset = state.clone(), 37
    bias, alpha, gain = vectors(n_channels, dtype, device)
    memory = before[slots, offset : offset + past * n_channels].view(n_rows, past, n_channels)
    fresh = snake(x, bias, alpha, gain) if is_snake else x.double() + bias.double()
    wave = (bias, alpha, gain) if is_snake else (bias,)
    out = codec_stream.codec_extend(x, state, slots, offset, past, *wave)
    assert_near(out, torch.cat((memory.double(), fresh), 1))
    kept = before.clone()
    kept[slots, offset : offset + past * n_channels] = out[:, n:].flatten(1)
    assert torch.equal(state, kept), "the end of what was returned, and nothing else"


@EVERY_DTYPE
@pytest.mark.parametrize(("n_rows", "n", "stride", "n_channels"), [(1, 1, 8, 5), (9, 2, 5, 3), (2, 70, 3, 16)])
def test_a_transposed_convolutions_steps_are_added_where_they_overlap(
    device: torch.device, dtype: torch.dtype, n_rows: int, n: int, stride: int, n_channels: int
) -> None:
    width, offset = stride * n_channels, 100
    y = numbers(n_rows, n, 2 * width, dtype=dtype, device=device)
    state, slots = state_of(dtype, device), slots_of(n_rows, device)
    before = state.clone()
    own, overlap = y.double().view(n_rows, n, 2, width).unbind(2)
    memory = before[slots, offset : offset + width].double()
    wanted = own + torch.cat((memory[:, None], overlap[:, :-1]), 1)
    out = codec_stream.codec_overlap_add(y, state, slots, offset, stride)
    assert_near(out, wanted.view(n_rows, n * stride, n_channels))
    before[slots, offset : offset + width] = overlap[:, -1].to(dtype)
    assert torch.equal(state, before)


@EVERY_DTYPE
@pytest.mark.parametrize(("n_rows", "n", "n_channels"), [(1, 1, 1), (9, 3, 15), (2, 45, 33)])
def test_the_last_convolution_gives_samples_within_full_scale(
    device: torch.device, dtype: torch.dtype, n_rows: int, n: int, n_channels: int
) -> None:
    x = numbers(n_rows, n + 6, n_channels, dtype=dtype, device=device)
    weight = vector(numbers(7, n_channels, dtype=dtype, device=device, seed=1)) / (7 * n_channels) ** 0.5
    bias = vector(numbers(1, dtype=dtype, device=device, seed=2))
    samples = codec_stream.codec_samples(x, weight, bias)
    kernel = weight.double().t()[None].contiguous()
    wanted = functional.conv1d(x.double().transpose(1, 2), kernel, bias.double())[:, 0].clamp(-1, 1)
    assert samples.dtype is torch.float32
    torch.testing.assert_close(samples.double(), wanted, rtol=1e-5, atol=1e-5)


def test_what_overflows_a_float16_becomes_its_greatest_number(device: torch.device) -> None:
    most = torch.finfo(torch.float16).max
    x = torch.tensor([[[float("inf"), -float("inf"), 6e4]]], dtype=torch.float16, device=device)
    state, slots = x.new_zeros(1, 6), torch.zeros(1, dtype=torch.int64, device=device)
    bias = torch.tensor([0.0, 0.0, 1e4], device=device)
    out = codec_stream.codec_extend(x, state, slots, 0, 2, bias)
    assert out[0, 2].tolist() == [most, -most, most]
    assert state[0, 3:].tolist() == [most, -most, most]
