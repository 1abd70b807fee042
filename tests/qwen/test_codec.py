"""The stateful codec against upstream's decoder on the same random weights, which decodes everything at once."""

from __future__ import annotations

import copy
import functools
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from worker.engine.base import CHUNK_RAMP, FRAME_SAMPLES
from worker.engine.qwen.codec.decoder import Codec

SCHEDULES = [(1,), CHUNK_RAMP, (25,)]
WINDOW = 20  # short, so that 60 frames go well beyond it
N_FRAMES = 60
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@functools.cache
def decoder_of(dtype: torch.dtype, n_kv_heads: int = 4, *, width: int = 32, device: torch.device = DEVICE) -> Any:
    """Upstream's decoder, small, with random weights: neither silent, nor chaotic, nor always at full scale."""
    from qwen_tts.core.tokenizer_12hz import modeling_qwen3_tts_tokenizer_v2 as upstream

    config = upstream.Qwen3TTSTokenizerV2DecoderConfig(
        hidden_size=width, latent_dim=width, codebook_dim=width, intermediate_size=2 * width, num_hidden_layers=2,
        decoder_dim=width, num_attention_heads=4, num_key_value_heads=n_kv_heads, head_dim=8, sliding_window=WINDOW,
    )  # fmt: skip
    decoder = upstream.Qwen3TTSTokenizerV2Decoder._from_config(config, attn_implementation="sdpa")
    random = torch.Generator().manual_seed(7)
    for name, weights in decoder.named_parameters():
        weights.requires_grad_(False)
        if name.endswith((".scale", ".gamma")):
            weights.fill_(0.3)
        elif name.endswith(("cluster_usage", "norm.weight", "layernorm.weight")):
            weights.uniform_(0.8, 1.2, generator=random)
        else:
            fan_in = 1 if "embedding_sum" in name else 100 if weights.dim() == 1 else weights[0].numel()
            weights.normal_(0, 1 if fan_in == 1 else 0.75 / math.sqrt(fan_in), generator=random)
    return decoder.to(device, dtype)


def codes_of(seed: int, n_rows: int = 1, n_frames: int = N_FRAMES) -> Tensor:
    """int64 [rows, frames, 16]."""
    random = torch.Generator().manual_seed(seed)
    return torch.randint(0, 2048, (n_rows, n_frames, 16), generator=random).to(DEVICE)


def at_once(decoder: Any, codes: Tensor) -> Tensor:
    """Upstream's samples, float32 [rows, frames * 1920]."""
    with torch.inference_mode():
        pcm: Tensor = decoder(codes.transpose(1, 2))[:, 0].float()
    return pcm


def int16(pcm: Tensor) -> Tensor:
    return (pcm * 32767).round().to(torch.int16)


def at(*slots: int) -> Tensor:
    return torch.tensor(slots, device=DEVICE)


def pieces(codes: Tensor, schedule: Sequence[int]) -> Iterator[Tensor]:
    """Codes [rows, frames, 16] cut along the frames; the schedule's last size goes on."""
    sizes, start = itertools.chain(schedule, itertools.repeat(schedule[-1])), 0
    while start < codes.shape[1]:
        n = next(sizes)
        yield codes[:, start : start + n]
        start += n


def streamed(codec: Codec, codes: Tensor, slots: Tensor, schedule: Sequence[int] = CHUNK_RAMP) -> Tensor:
    return torch.cat([codec.decode(piece, slots) for piece in pieces(codes, schedule)], 1)


@pytest.fixture
def codec() -> Codec:
    return Codec(decoder_of(torch.float64), n_slots=4)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_float64_samples_are_identical_to_one_decode_of_everything(codec: Codec, schedule: tuple[int, ...]) -> None:
    codes = codes_of(1, n_rows=2)
    expected = int16(at_once(decoder_of(torch.float64), codes))
    assert expected.float().std() > 1000
    assert torch.equal(int16(streamed(codec, codes, at(0, 1), schedule)), expected)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_float32_samples_are_at_most_one_step_off_and_rarely_so(schedule: tuple[int, ...]) -> None:
    codes = codes_of(2, n_rows=2)
    expected = int16(at_once(decoder_of(torch.float32), codes))
    spoken = int16(streamed(Codec(decoder_of(torch.float32), 2), codes, at(0, 1), schedule))
    off = (spoken.int() - expected.int()).abs()
    assert off.max() <= 1
    assert off.float().mean() <= 0.02


def test_fewer_heads_of_keys_than_of_queries_are_decoded_too() -> None:
    decoder, codes = decoder_of(torch.float64, n_kv_heads=2), codes_of(3)
    assert torch.equal(int16(streamed(Codec(decoder, 1), codes, at(0))), int16(at_once(decoder, codes)))


@pytest.mark.parametrize("n_reference_frames", [0, 1, 27, 50])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_stored_state_goes_on_as_if_the_reference_had_just_been_decoded(
    codec: Codec, n_reference_frames: int, schedule: tuple[int, ...]
) -> None:
    codes = codes_of(4)
    stored = load(save(codec.state_of(codes[0, :n_reference_frames])))
    codec.reset(2, stored)
    spoken = streamed(codec, codes[:, n_reference_frames:], at(2), schedule)
    expected = at_once(decoder_of(torch.float64), codes)[:, n_reference_frames * FRAME_SAMPLES :]
    assert torch.equal(int16(spoken), int16(expected))


def test_slots_at_different_positions_decode_together_in_any_order(codec: Codec) -> None:
    codes = codes_of(5, n_rows=3)
    expected = int16(at_once(decoder_of(torch.float64), codes))
    starts = {3: 0, 0: 7, 2: 31}  # slot: frames it is ahead
    for row, (slot, start) in enumerate(starts.items()):
        codec.reset(slot, codec.state_of(codes[row, :start]))
    for n_done, order in ((0, [0, 1, 2]), (4, [2, 0, 1]), (8, [1, 2, 0])):
        slots = [list(starts)[row] for row in order]
        firsts = [start + n_done for start in starts.values()]
        chunk = torch.stack([codes[row, firsts[row] : firsts[row] + 4] for row in order])
        for row, pcm in zip(order, codec.decode(chunk, at(*slots)), strict=True):
            wanted = expected[row, firsts[row] * FRAME_SAMPLES : (firsts[row] + 4) * FRAME_SAMPLES]
            assert torch.equal(int16(pcm), wanted)


def test_a_slot_left_alone_keeps_its_state_while_others_are_decoded_and_reset(codec: Codec) -> None:
    codes = codes_of(6)
    first = codec.decode(codes[:, :9], at(1))
    streamed(codec, codes_of(7, n_rows=2), at(0, 3))
    codec.reset(2, None)
    codec.reset(0, codec.state_of(codes_of(8)[0]))
    second = codec.decode(codes[:, 9:], at(1))
    assert torch.equal(int16(torch.cat((first, second), 1)), int16(at_once(decoder_of(torch.float64), codes)))


def test_a_reused_slot_remembers_nothing(codec: Codec) -> None:
    streamed(codec, codes_of(9), at(1))
    codec.reset(1, None)
    codes = codes_of(10, n_frames=12)
    assert torch.equal(int16(codec.decode(codes, at(1))), int16(at_once(decoder_of(torch.float64), codes)))


def test_what_the_neighbours_say_is_not_heard(codec: Codec) -> None:
    mine, heard = codes_of(11, n_frames=30), []
    for seed in (12, 13):
        for slot in range(4):
            codec.reset(slot, None)
        batch = torch.cat((codes_of(seed, 1, 30), mine, codes_of(seed + 100, 2, 30)))
        heard.append(int16(streamed(codec, batch, at(0, 1, 2, 3))))
    assert torch.equal(heard[0][1], heard[1][1])
    for row in (0, 2, 3):
        assert (heard[0][row] != heard[1][row]).float().mean() > 0.5


def test_a_state_is_made_while_slots_decode(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk of every slot, the scratch slot too, comes before each chunk of the state's codes."""
    reference, batch, slots = codes_of(9)[0], codes_of(10, n_rows=4), at(0, 1, 2, codec.scratch)

    def reset() -> None:
        for slot in slots.tolist():
            codec.reset(slot, None)

    reset()
    alone, expected = codec.state_of(reference), streamed(codec, batch, slots, (25,))
    decode, waiting, spoken = codec.decode, list(pieces(batch, (25,))), []

    def beside(codes: Tensor, row: Tensor, state: Mapping[str, Tensor] | None = None) -> Tensor:
        spoken.append(decode(waiting.pop(0), slots))
        return decode(codes, row, state)

    reset()
    monkeypatch.setattr(codec, "decode", beside)
    state = codec.state_of(reference)
    assert not waiting
    assert all(torch.equal(state[name], alone[name]) for name in alone)
    assert torch.equal(torch.cat(spoken, 1), expected)


def test_any_number_of_rows_may_fill_up_a_batch_in_the_scratch_slot(codec: Codec) -> None:
    codes = codes_of(14, n_frames=30)
    batch = torch.cat((codes_of(15, 2, 30), codes, codes_of(16, 1, 30)))
    spoken = streamed(codec, batch, at(codec.scratch, codec.scratch, 3, codec.scratch))
    assert torch.equal(int16(spoken[2:3]), int16(at_once(decoder_of(torch.float64), codes)))


def test_codes_beyond_the_codebooks_are_clamped(codec: Codec) -> None:
    codes = codes_of(17, n_frames=6)
    codes[0, 2, 3], codes[0, 4, 0] = 2150, -1
    expected = at_once(decoder_of(torch.float64), codes.clamp(0, 2047))
    assert torch.equal(int16(codec.decode(codes, at(0))), int16(expected))


def test_loud_speech_is_float32_and_stays_within_full_scale() -> None:
    decoder = copy.deepcopy(decoder_of(torch.float32))
    decoder.decoder[-1].conv.weight.mul_(50)
    pcm = Codec(decoder, 1).decode(codes_of(18, n_frames=4), at(0))
    assert pcm.dtype is torch.float32
    assert pcm.shape == (1, 4 * FRAME_SAMPLES)
    assert (float(pcm.min()), float(pcm.max())) == (-1, 1)


def test_a_consuming_codec_frees_upstreams_copies_and_speaks_the_same() -> None:
    decoder, codes = copy.deepcopy(decoder_of(torch.float64)), codes_of(19, n_frames=12)
    before = sum(weights.numel() for weights in decoder.parameters())
    codec = Codec(decoder, 1, consume=True)
    after = sum(weights.numel() for weights in decoder.parameters())
    n_codebooks, n_fused = 16 * 2048 * 16, 2 * (3 * 32 * 32 + 2 * 32 * 64)
    assert before - after == n_codebooks + n_fused
    assert torch.equal(int16(codec.decode(codes, at(0))), int16(at_once(decoder_of(torch.float64), codes)))


def test_a_state_of_another_codec_is_refused(codec: Codec) -> None:
    other = Codec(decoder_of(torch.float64, n_kv_heads=2), 1)
    with pytest.raises(ValueError, match="make it again from the reference codes"):
        codec.reset(0, other.state_of(codes_of(20, n_frames=3)[0]))


def test_a_rule_of_rotation_it_does_not_know_is_refused() -> None:
    decoder = copy.deepcopy(decoder_of(torch.float32))
    decoder.pre_transformer.rotary_emb.rope_type = "yarn"
    with pytest.raises(ValueError, match="yarn"):
        Codec(decoder, 1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_recorded_graph_speaks_as_the_eager_codec_does() -> None:
    codec, codes = Codec(decoder_of(torch.float32), 4), codes_of(21, n_rows=2, n_frames=24)
    eager = streamed(codec, codes, at(0, 1), (4,))
    chunk, slots = codes[:, :4].clone(), at(codec.scratch, codec.scratch)
    with torch.cuda.stream(torch.cuda.Stream()):
        codec.decode(chunk, slots)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            pcm = codec.decode(chunk, slots)
        slots.copy_(at(2, 3))
        spoken = []
        for piece in pieces(codes, (4,)):
            chunk.copy_(piece)
            graph.replay()
            spoken.append(pcm.clone())
        torch.cuda.synchronize()
    assert (int16(torch.cat(spoken, 1)).int() - int16(eager).int()).abs().max() <= 1
