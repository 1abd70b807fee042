"""The compiled loops of a CPU equal eager torch on odd sizes, for 1 to 9 rows, at every length."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.qwen.exact import GREEDY, Ties, voices
from worker.engine.qwen import QwenEngine, SpeechRequest
from worker.engine.qwen.cpu import layers

EPS = 1e-6
N_ROWS, N_POSITIONS = 10, 70
SHAPES = [(1, 4, 2, 16), (2, 1, 1, 6), (3, 6, 2, 32), (9, 16, 8, 128)]  # tokens, query and kv heads, width


def numbers(*shape: int, scale: float = 1.0, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape))) * scale


@pytest.mark.parametrize("n", [1, 2, 9])
@pytest.mark.parametrize("width", [1, 7, 64, 1025])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_norms_are_torchs(n: int, width: int, scale: float) -> None:
    x, y, weight = numbers(n, width, scale=scale), numbers(n, width, scale=scale, seed=2), numbers(width)
    total, normed = layers.add_rms(x, y, weight, EPS)
    assert torch.equal(total, x + y)
    torch.testing.assert_close(normed, functional.rms_norm(x + y, (width,), weight, EPS), rtol=2e-6, atol=1e-6)
    assert torch.equal(layers.rms(total, weight, EPS), normed)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0, 1e4])
def test_silu_times_up_is_torchs(scale: float) -> None:
    gate_up = numbers(3, 2 * 77, scale=scale)
    gate, up = gate_up.chunk(2, 1)
    torch.testing.assert_close(layers.silu_mul(gate_up), functional.silu(gate) * up, rtol=2e-6, atol=1e-25)


def test_what_is_no_number_stays_none() -> None:
    assert layers.silu_mul(torch.full((1, 18), torch.nan)).isnan().all()
    assert layers.rms(torch.full((1, 9), torch.nan), torch.ones(9), EPS).isnan().all()


class Given:
    """The queries, keys and values of some tokens, each in another row of caches that are full of other numbers."""

    def __init__(self, n: int, n_q: int, n_kv: int, width: int) -> None:
        self.n_q, self.n_kv, self.width = n_q, n_kv, width
        self.qkv = numbers(n, (n_q + 2 * n_kv) * width)
        self.weight = numbers(n_q + n_kv, width)
        angles = numbers(N_POSITIONS, width // 2)
        self.cis = torch.stack((angles.cos(), angles.sin()), -1)
        self.keys, self.values = (numbers(N_ROWS, n_kv, N_POSITIONS, width, seed=seed) for seed in (3, 4))
        self.rows = torch.arange(N_ROWS).flip(0)[:n].contiguous()
        self.positions = (torch.arange(n) * 31 + 5) % N_POSITIONS

    def turned(self) -> Tensor:
        """Queries and keys, normed and rotated: [n, heads, width]."""
        heads = self.qkv.view(len(self.qkv), -1, self.width)[:, : self.n_q + self.n_kv]
        pairs = torch.view_as_complex(
            (functional.rms_norm(heads, (self.width,), None, EPS) * self.weight).unflatten(-1, (-1, 2))
        )
        turns = torch.view_as_complex(self.cis)[self.positions][:, None]
        return torch.view_as_real(pairs * turns).flatten(-2)


@pytest.mark.parametrize("shape", SHAPES)
def test_heads_are_normed_rotated_and_remembered_and_nothing_else_is(shape: tuple[int, int, int, int]) -> None:
    given = Given(*shape)
    wanted, values = (
        given.turned(),
        given.qkv.view(len(given.qkv), -1, given.width)[:, given.n_q + given.n_kv :].clone(),
    )
    caches = given.keys.clone(), given.values.clone()
    layers.qk(given.qkv, given.weight, given.cis, given.positions, given.rows, given.keys, given.values, EPS)
    here = given.qkv.view(len(given.qkv), -1, given.width)
    torch.testing.assert_close(here[:, : given.n_q + given.n_kv], wanted, rtol=1e-5, atol=1e-5)
    assert torch.equal(here[:, given.n_q + given.n_kv :], values)
    for cache, new, now in zip(
        caches, (here[:, given.n_q :][:, : given.n_kv], values), (given.keys, given.values), strict=True
    ):
        cache[given.rows, :, given.positions] = new
        assert torch.equal(now, cache)


@pytest.mark.parametrize("shape", SHAPES)
def test_each_token_attends_to_its_row_up_to_itself(shape: tuple[int, int, int, int]) -> None:
    given = Given(*shape)
    queries = given.qkv.view(len(given.qkv), -1, given.width)[:, : given.n_q]
    for shift in range(N_POSITIONS):
        positions = (given.positions + shift) % N_POSITIONS
        attended = layers.attend(given.qkv, given.keys, given.values, given.rows, positions)
        for n, (row, position) in enumerate(zip(given.rows.tolist(), positions.tolist(), strict=True)):
            keys, values = (kept[row, :, : position + 1] for kept in (given.keys, given.values))
            wanted = functional.scaled_dot_product_attention(queries[n][:, None], keys, values, enable_gqa=True)
            torch.testing.assert_close(attended[n], wanted.flatten(), rtol=1e-5, atol=1e-5)


def test_utterances_of_a_pack_attend_to_themselves() -> None:
    given = Given(9, 6, 2, 32)
    starts = torch.tensor([0, 0, 0, 0, 4, 5, 5, 5, 8])
    attended = layers.attend_packed(given.qkv, starts, given.n_kv, given.width)
    heads = given.qkv.view(9, -1, given.width)
    for t, start in enumerate(starts.tolist()):
        keys, values = heads[start : t + 1, given.n_q :].transpose(0, 1).split(given.n_kv)
        wanted = functional.scaled_dot_product_attention(heads[t, : given.n_q, None], keys, values, enable_gqa=True)
        torch.testing.assert_close(attended[t], wanted.flatten(), rtol=1e-5, atol=1e-5)


def test_an_engine_with_loops_speaks_the_codes_of_eager_torch(tiny: Path, ties: Ties) -> None:
    spoken = []
    for kernels in ("auto", "torch"):
        engine = QwenEngine.load(str(tiny), device="cpu", dtype="float32", kernels=kernels, slots=3)
        assert engine.model.kernels == ("torch" if kernels == "torch" else "loops")
        icl, x_vector, _ = voices(engine)
        texts = (("Hello there.", icl), ("One, two, three.", x_vector), ("Again.", icl))
        spoken.append(engine.synthesize([SpeechRequest(t, v, "en", GREEDY, 3, 8) for t, v in texts]))
    for n, (ours, eager) in enumerate(zip(*spoken, strict=True)):
        ties.same(ours, eager.codes, f"utterance {n}")
