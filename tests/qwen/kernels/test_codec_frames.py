"""The kernels of the codec's transformer and of its other layers of few steps compute what eager torch does."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

pytest.importorskip("triton")
from tests.qwen.kernels.test_codec_stream import slots_of
from tests.qwen.kernels.test_layers import EVERY_DTYPE, assert_near, numbers
from worker.engine.qwen.codec.tables import vector
from worker.engine.qwen.kernels import codec_frames

N_SLOTS = 12


def test_frames_are_counted_by_slot(device: torch.device) -> None:
    frames = torch.arange(N_SLOTS, device=device) * 100
    slots = torch.tensor([7, 0, 3], device=device)
    assert codec_frames.codec_advance(frames, slots, 5).tolist() == [700, 0, 300]
    assert frames.tolist() == [100 * n + 5 * (n in (0, 3, 7)) for n in range(N_SLOTS)]


@EVERY_DTYPE
@pytest.mark.parametrize(("n_rows", "n", "width"), [(1, 1, 1), (3, 2, 33)])
def test_sums_of_the_codebooks(device: torch.device, dtype: torch.dtype, n_rows: int, n: int, width: int) -> None:
    n_books, n_entries = 4, 5
    table = numbers(n_books * n_entries, width, dtype=dtype, device=device)
    codes = torch.randint(-2, 8, (n_rows, n, n_books), generator=torch.Generator().manual_seed(0)).to(device)
    vectors = table.view(n_books, n_entries, width)[torch.arange(n_books, device=device), codes.clamp(0, 4)].double()
    wanted = torch.cat((vectors[:, :, :1].sum(2), vectors[:, :, 1:].sum(2)), -1)
    assert_near(codec_frames.codec_codebooks(codes, table, 1), wanted)


@EVERY_DTYPE
@pytest.mark.parametrize("is_sum", [True, False])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 3, 33)])
def test_rms_norm_of_a_scaled_sum(
    device: torch.device, dtype: torch.dtype, is_sum: bool, shape: tuple[int, int, int]
) -> None:
    x, y = (numbers(*shape, dtype=dtype, device=device, seed=seed) for seed in (0, 1))
    scale, weight = (vector(numbers(shape[-1], dtype=dtype, device=device, seed=seed)) for seed in (2, 3))
    total = x.double() + (scale.double() * y.double() if is_sum else 0)
    normed = codec_frames.codec_add_rms(x, weight, 1e-5, *((y, scale) if is_sum else ()))
    assert_near(x, total)
    wanted = functional.rms_norm(total, shape[-1:], weight.double(), 1e-5)
    # The norm is float32 in every dtype.
    torch.testing.assert_close(normed.double(), wanted, rtol=max(2e-6, torch.finfo(dtype).eps), atol=2e-6)


def ring_after(
    qkv: Tensor, ring: Tensor, layer: int, slots: Tensor, starts: Tensor, frequencies: Tensor
) -> tuple[Tensor, Tensor]:
    """The queries [B, n, heads, head] and the ring as they should be, in float64."""
    n_rows, n, width = qkv.shape
    n_kv, size, head = ring.shape[2:]
    heads = qkv.double().view(n_rows, n, width // head, head)
    angles = (starts[:, None] + torch.arange(n, device=qkv.device)).float()[..., None] * frequencies
    angles = torch.cat((angles, angles), -1)[:, :, None].double()
    turned = torch.cat((-heads[..., head // 2 :], heads[..., : head // 2]), -1)
    rotated = heads * angles.cos() + turned * angles.sin()
    n_rotated = width // head - n_kv // 2
    heads = torch.cat((rotated[:, :, :n_rotated], heads[:, :, n_rotated:]), 2)
    wanted = ring.double()
    for row, slot in enumerate(slots.tolist()):
        for frame in range(n):
            wanted[slot, layer, :, (int(starts[row]) + frame) % size] = heads[row, frame, -n_kv:]
    return heads[:, :, :-n_kv], wanted


@EVERY_DTYPE
@pytest.mark.parametrize(("n_rows", "n", "n_queries", "n_keys", "head"), [(1, 1, 1, 1, 2), (9, 3, 6, 2, 10)])
def test_rotated_keys_and_values_are_written_into_the_ring(
    device: torch.device, dtype: torch.dtype, n_rows: int, n: int, n_queries: int, n_keys: int, head: int
) -> None:
    qkv = numbers(n_rows, n, (n_queries + 2 * n_keys) * head, dtype=dtype, device=device)
    ring = numbers(N_SLOTS, 2, 2 * n_keys, 7, head, dtype=dtype, device=device, seed=1)
    slots, starts = slots_of(n_rows, device), torch.arange(n_rows, device=device) * 31
    frequencies = torch.rand(head // 2, generator=torch.Generator().manual_seed(2)).to(device)
    wanted, wanted_ring = ring_after(qkv, ring, 1, slots, starts, frequencies)
    queries = codec_frames.codec_rotate(qkv, ring, 1, slots, starts, frequencies)
    step = max(2e-5, torch.finfo(dtype).eps)  # angles are float32 in every dtype
    torch.testing.assert_close(queries.double(), wanted.flatten(2), rtol=step, atol=step)
    torch.testing.assert_close(ring.double(), wanted_ring, rtol=step, atol=step)


@EVERY_DTYPE
@pytest.mark.parametrize(("n", "n_queries", "n_keys", "head", "window"), [(1, 1, 1, 2, 1), (3, 4, 2, 10, 5)])
@pytest.mark.parametrize("start", [0, 2, 41])
def test_a_frame_attends_to_its_window(
    device: torch.device, dtype: torch.dtype, n: int, n_queries: int, n_keys: int, head: int, window: int, start: int
) -> None:
    n_rows, size = 2, window + n + 1
    queries = numbers(n_rows, n, n_queries * head, dtype=dtype, device=device)
    ring = numbers(N_SLOTS, 2, 2 * n_keys, size, head, dtype=dtype, device=device, seed=1)
    slots, starts = slots_of(n_rows, device), torch.tensor([start, start + 3], device=device)
    mean = codec_frames.codec_attend(queries, ring, 1, slots, starts, window).view(n_rows, n, n_queries, head)
    for row in range(n_rows):
        for frame in range(n):
            position = int(starts[row]) + frame
            entries = [p % size for p in range(max(0, position - window + 1), position + 1)]
            keys, values = ring[slots[row], 1][:, entries].double().chunk(2)  # [key heads, window, head]
            for h in range(n_queries):
                query = queries.view(n_rows, n, n_queries, head)[row, frame, h].double()
                kv = h // (n_queries // n_keys)
                shares = (keys[kv] @ query / math.sqrt(head)).softmax(0)
                assert_near(mean[row, frame, h], shares @ values[kv])


@EVERY_DTYPE
@pytest.mark.parametrize(("n_rows", "n", "width"), [(1, 1, 4), (2, 3, 33)])
def test_layer_norm_of_a_depthwise_convolution(
    device: torch.device, dtype: torch.dtype, n_rows: int, n: int, width: int
) -> None:
    x = numbers(n_rows, n + 6, width, dtype=dtype, device=device)
    taps = vector(numbers(7, width, dtype=dtype, device=device, seed=1))
    bias, weight, shift = (vector(numbers(width, dtype=dtype, device=device, seed=seed)) for seed in (2, 3, 4))
    kernel = taps.double().t()[:, None].contiguous()
    y = functional.conv1d(x.double().transpose(1, 2), kernel, bias.double(), groups=width).transpose(1, 2)
    wanted = functional.layer_norm(y, (width,), weight.double(), shift.double(), 1e-6)
    normed = codec_frames.codec_depthwise_norm(x, taps, bias, weight, shift, 1e-6)
    step = max(1e-5 if dtype != torch.float64 else 1e-12, torch.finfo(dtype).eps)
    torch.testing.assert_close(normed.double(), wanted, rtol=step, atol=step)


@EVERY_DTYPE
@pytest.mark.parametrize("shape", [(1, 1, 1), (9, 5, 33)])
def test_a_scaled_sum(device: torch.device, dtype: torch.dtype, shape: tuple[int, int, int]) -> None:
    x, y = (numbers(*shape, dtype=dtype, device=device, seed=seed) for seed in (0, 1))
    scale = vector(numbers(shape[-1], dtype=dtype, device=device, seed=2))
    wanted = x.double() + scale.double() * y.double()
    codec_frames.codec_scaled_add_(x, y, scale)
    assert_near(x, wanted)
