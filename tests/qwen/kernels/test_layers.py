"""The kernels of a transformer layer compute what eager torch does."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.qwen.fake_gpu import DEVICE, CaptureRules, fake_tensors

pytest.importorskip("triton")
from worker.engine.qwen.kernels import layers

DTYPES = [torch.bfloat16, torch.float16, torch.float32, torch.float64]
EVERY_DTYPE = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))
HALF_STEPS = {torch.bfloat16: 2**-8, torch.float16: 2**-11, torch.float32: 2e-6, torch.float64: 1e-13}
OF_A_NORM = 2e-6  # a norm is float32 also in a float64 engine, as upstream's
EPS = 1e-6


def numbers(*shape: int, dtype: torch.dtype, device: torch.device, seed: int = 0) -> Tensor:
    """Normal numbers of the seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(device, dtype)


def assert_near(ours: Tensor, wanted: Tensor, n_roundings: int = 1, least: float = 0.0) -> None:
    """The same to so many roundings to the dtype of `ours`, or to `least`. wanted: of any dtype."""
    step = max(1.01 * n_roundings * HALF_STEPS[ours.dtype], least)
    torch.testing.assert_close(ours.double(), wanted.double(), rtol=step, atol=step)


def normed(x: Tensor) -> Tensor:
    """RMSNorm without a weight, float32."""
    full = x.float()
    return full * (full.square().mean(-1, keepdim=True) + EPS).rsqrt()


@EVERY_DTYPE
@pytest.mark.parametrize(("n_rows", "width"), [(1, 1), (2, 1024), (9, 77), (3, 1025)])
def test_rms(device: torch.device, dtype: torch.dtype, n_rows: int, width: int) -> None:
    x, weight = (numbers(*shape, dtype=dtype, device=device) for shape in ((n_rows, width), (width,)))
    before = x.clone()
    ours = layers.rms(x, weight, EPS)
    assert ours.dtype == dtype
    assert_near(ours, normed(x).double() * weight.double(), least=OF_A_NORM)
    assert torch.equal(x, before)


@EVERY_DTYPE
@pytest.mark.parametrize(("n_rows", "width"), [(1, 64), (9, 77), (4, 1025)])
def test_add_rms(device: torch.device, dtype: torch.dtype, n_rows: int, width: int) -> None:
    x, y = (numbers(n_rows, width, dtype=dtype, device=device, seed=seed) for seed in (1, 2))
    weight = numbers(width, dtype=dtype, device=device)
    total, out = layers.add_rms(x, y, weight, EPS)
    assert torch.equal(total, x + y)
    assert torch.equal(out, layers.rms(total, weight, EPS))


def remembered(qkv: Tensor, weight: Tensor, cis: Tensor, positions: Tensor) -> Tensor:
    """What eager torch makes of queries and keys, [N, HQ + HK, D]."""
    x = normed(qkv[:, : len(weight)]).to(qkv.dtype) * weight
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * torch.view_as_complex(cis)[positions][:, None]).flatten(-2)


@EVERY_DTYPE
@pytest.mark.parametrize(
    ("n_heads", "n_kv_heads", "width", "rows", "positions"),
    [
        (4, 2, 16, [3], [0]),
        (3, 1, 32, [0, 0, 2, 2], [0, 1, 0, 1]),
        (4, 2, 128, [2, 0, 3], [39, 7, 8]),
        (2, 2, 2, [8, 7, 6, 5, 4, 3, 2, 1, 0], list(range(9))),
    ],
)
def test_qk(
    device: torch.device, dtype: torch.dtype, n_heads: int, n_kv_heads: int, width: int, rows: list[int],
    positions: list[int],
) -> None:  # fmt: skip
    kind = torch.promote_types(dtype, torch.float32)
    n, n_rows, n_positions = len(rows), max(rows) + 2, 40
    heads = numbers(n, n_heads + 2 * n_kv_heads, width, dtype=dtype, device=device)
    weight = numbers(n_heads + n_kv_heads, width, dtype=kind, device=device, seed=1)
    angles = numbers(n_positions, width // 2, dtype=kind, device=device, seed=2)
    cis = torch.stack((angles.cos(), angles.sin()), -1)
    keys = torch.full((n_rows, n_kv_heads, n_positions, width), 7.0, dtype=dtype, device=device)
    values, qkv = keys.clone(), heads.flatten(1).clone()
    rows_, positions_ = torch.tensor(rows, device=device), torch.tensor(positions, device=device)

    layers.qk(qkv, weight, cis, positions_, rows_, keys, values, EPS)

    wanted = remembered(heads, weight, cis, positions_)
    ours = qkv.view_as(heads)
    size = float(wanted.abs().max())
    assert_near(ours[:, : len(weight)] / size, wanted / size, least=OF_A_NORM)
    assert torch.equal(ours[:, len(weight) :], heads[:, len(weight) :])
    assert torch.equal(keys[rows_, :, positions_], ours[:, n_heads : len(weight)])
    assert torch.equal(values[rows_, :, positions_], heads[:, len(weight) :])
    for cache in (keys, values):
        cache[rows_, :, positions_] = 7.0
        assert torch.equal(cache, torch.full_like(cache, 7.0)), "nothing else was written"


@EVERY_DTYPE
@pytest.mark.parametrize(("n_rows", "width"), [(1, 1), (2, 3072), (9, 77), (3, 1025)])
def test_silu_mul(device: torch.device, dtype: torch.dtype, n_rows: int, width: int) -> None:
    gate_up = numbers(n_rows, 2 * width, dtype=dtype, device=device) * 8
    gate, up = gate_up.double().chunk(2, -1)
    assert_near(layers.silu_mul(gate_up), functional.silu(gate) * up)


def test_silu_mul_of_gates_far_from_zero(device: torch.device) -> None:
    gate_up = torch.tensor([[-1e4, 1e4, -0.0, 2.0, 2.0, 2.0]], device=device)
    assert layers.silu_mul(gate_up).tolist() == [[0.0, 2e4, 0.0]]


def test_a_kernel_is_one_launch_of_a_captured_graph() -> None:
    with fake_tensors(), torch.inference_mode(), CaptureRules() as rules:
        silu = layers.silu_mul(torch.empty(3, 8, device=DEVICE, dtype=torch.bfloat16))
    assert (silu.shape, silu.dtype, silu.device) == ((3, 4), torch.bfloat16, DEVICE)
    assert rules.kernels == {"makima::silu_mul": 1}
