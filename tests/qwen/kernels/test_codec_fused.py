"""The codec of fused kernels says what the eager one does, however its calls are cut, shared and interrupted."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

pytest.importorskip("triton")
from tests.qwen.test_codec import codes_of, decoder_of
from worker.engine.qwen.codec.decoder import Codec
from worker.engine.qwen.kernels import codec_stream

N_SLOTS = 4
NEAR = {torch.float64: 5e-6, torch.float32: 1e-4}  # of full scale; norms and angles are float32 in both


@pytest.fixture(autouse=True)
def few_programs(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter takes milliseconds for a program of any size."""
    if device.type == "cpu":
        monkeypatch.setattr(codec_stream, "TILE", 1 << 16)


def both(dtype: torch.dtype, device: torch.device, n_kv_heads: int = 4) -> tuple[Codec, Codec]:
    decoder = decoder_of(dtype, n_kv_heads, device=device)
    return Codec(decoder, N_SLOTS), Codec(decoder, N_SLOTS, kernels="triton")


@pytest.mark.parametrize(("dtype", "n_kv_heads"), [(torch.float64, 2), (torch.float32, 4)])
def test_random_calls_on_random_slots_with_resets(device: torch.device, dtype: torch.dtype, n_kv_heads: int) -> None:
    eager, fused = both(dtype, device, n_kv_heads)
    random = np.random.default_rng(3)
    for call, n_frames in enumerate((1, 3, 1, 2)):
        rows = random.permutation(N_SLOTS)[: random.integers(1, 3)]
        slots = torch.tensor([*rows, *([eager.scratch] * (call % 2))], device=device)
        if call == 2:
            for codec in (eager, fused):
                codec.reset(int(rows[0]), None)
        codes = codes_of(call, len(slots), n_frames).to(device)
        wanted, pcm = eager.decode(codes, slots), fused.decode(codes, slots)
        assert wanted.std() > 0.02
        torch.testing.assert_close(pcm[: len(rows)], wanted[: len(rows)], rtol=0, atol=NEAR[dtype])


def test_a_call_longer_than_window_and_ring_is_done_in_parts(device: torch.device) -> None:
    eager, fused = both(torch.float64, device)
    codes, slot = codes_of(5, 1, 46).to(device), torch.tensor([2], device=device)
    torch.testing.assert_close(fused.decode(codes, slot), eager.decode(codes, slot), rtol=0, atol=NEAR[torch.float64])


def test_a_stored_state_goes_on_as_if_it_had_just_been_decoded(device: torch.device) -> None:
    fused = both(torch.float32, device)[1]
    codes, slots = codes_of(6, 1, 5).to(device), torch.tensor([[0], [1]], device=device)
    fused.reset(0, fused.state_of(codes[0, :3]))
    fused.decode(codes[:, :3], slots[1])
    assert torch.equal(fused.decode(codes[:, 3:], slots[0]), fused.decode(codes[:, 3:], slots[1]))


def test_it_frees_upstreams_weights(device: torch.device) -> None:
    decoder = copy.deepcopy(decoder_of(torch.float32, device=device))
    codes, slots = codes_of(7, 1, 1).to(device), torch.tensor([0], device=device)
    before = sum(weights.numel() for weights in decoder.parameters())
    wanted = Codec(decoder, 1, kernels="triton").decode(codes, slots)
    codec = Codec(decoder, 1, consume=True, kernels="triton")
    assert sum(weights.numel() for weights in decoder.parameters()) < before / 5
    assert torch.equal(codec.decode(codes, slots), wanted)


def test_a_state_of_the_eager_codec_is_refused(device: torch.device) -> None:
    eager, fused = both(torch.float32, device)
    assert eager.layout != fused.layout
    with pytest.raises(ValueError, match="make it again from the reference codes"):
        fused.reset(0, eager.state_of(codes_of(8)[0, :0]))
