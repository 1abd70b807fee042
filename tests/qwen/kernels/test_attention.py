"""The attention kernels compute what eager torch does, for every length and however the work is split."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.qwen.kernels.test_layers import EVERY_DTYPE, assert_near, numbers

pytest.importorskip("triton")
from worker.engine.qwen.kernels import attention

WIDTH = 16


def attended(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """float64 [HQ * D]: queries [HQ, D] over keys and values [HK, n, D]."""
    q = query.double().view(len(keys), -1, WIDTH)
    weights = (q @ keys.double().mT * WIDTH**-0.5).softmax(-1)
    return torch.matmul(weights, values.double()).flatten()


def check(
    device: torch.device, positions: list[int], n_positions: int, heads: tuple[int, int], dtype: torch.dtype
) -> None:
    n, (n_heads, n_kv_heads) = len(positions), heads
    qkv = numbers(n, (n_heads + 2 * n_kv_heads) * WIDTH, dtype=dtype, device=device, seed=1)
    keys, values = (numbers(n + 2, n_kv_heads, n_positions, WIDTH, dtype=dtype, device=device, seed=s) for s in (2, 3))
    rows = torch.randperm(n + 2, generator=torch.Generator().manual_seed(n))[:n].to(device)
    for row, position in zip(rows, positions, strict=True):
        keys[row, :, position + 1 :] = torch.nan
        values[row, :, position + 1 :] = torch.nan
    n_done = torch.zeros(n * n_kv_heads, dtype=torch.int32, device=device)
    ours = attention.attend(qkv, keys, values, rows, torch.tensor(positions, device=device), n_done)
    queries = qkv[:, : n_heads * WIDTH]
    wanted = [
        attended(query, keys[row, :, : p + 1], values[row, :, : p + 1])
        for query, row, p in zip(queries, rows, positions, strict=True)
    ]
    assert_near(ours, torch.stack(wanted), n_roundings=2)
    assert not n_done.any(), "ready for the next launch"


@pytest.mark.parametrize("position", range(16))
def test_a_short_cache_at_every_length(device: torch.device, position: int) -> None:
    check(device, [position] * (1 + position % 9), 16, (4, 2), torch.float32)


@pytest.mark.parametrize("first", range(0, 90, 9))
def test_rows_of_every_length_at_once(device: torch.device, first: int) -> None:
    check(device, [*range(first, first + 9)], 90, (2, 1), torch.float32)


@EVERY_DTYPE
@pytest.mark.parametrize(("positions", "heads"), [([63, 64, 0], (3, 1)), ([129, 5], (2, 2))])
def test_every_dtype_and_grouping(
    device: torch.device, dtype: torch.dtype, positions: list[int], heads: tuple[int, int]
) -> None:
    check(device, positions, 130, heads, dtype)


@pytest.mark.parametrize("n_positions", [64, 700, 1100])
def test_a_row_alone_is_split_among_many_programs(device: torch.device, n_positions: int) -> None:
    check(device, [n_positions - 1], n_positions, (2, 1), torch.float32)


def test_few_rows_are_split_more_than_many() -> None:
    assert attention.n_splits(1, 8, 3) == 4
    splits = [attention.n_splits(n, 8, 32) for n in (1, 2, 3, 8, 64, 65)]
    assert splits == [32, 32, 32, 8, 1, 1]


@EVERY_DTYPE
@pytest.mark.parametrize("lengths", [[1], [17, 1], [64, 6], [5, 40, 3, 20]], ids=str)
def test_packed_prompts_attend_to_themselves(device: torch.device, dtype: torch.dtype, lengths: list[int]) -> None:
    n_heads, n_kv_heads, n = 3, 1, sum(lengths)
    qkv = numbers(n, (n_heads + 2 * n_kv_heads) * WIDTH, dtype=dtype, device=device)
    starts = torch.tensor([sum(lengths[:i]) for i, length in enumerate(lengths) for _ in range(length)], device=device)
    ours = attention.attend_packed(qkv, starts, n_kv_heads, WIDTH)
    heads = qkv.view(n, -1, WIDTH)
    k, v = (heads[:, a : a + n_kv_heads].transpose(0, 1) for a in (n_heads, n_heads + n_kv_heads))
    wanted = [attended(heads[t, :n_heads], k[:, s : t + 1], v[:, s : t + 1]) for t, s in enumerate(starts)]
    assert_near(ours, torch.stack(wanted), n_roundings=2)
