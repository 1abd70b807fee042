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


def numbers(*shape: int, dtype: torch.dtype, device: torch.device, seed: int = 0) -> Tensor:
    """Normal numbers of the seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(device, dtype)


def assert_near(ours: Tensor, wanted: Tensor) -> None:
    """The same to one rounding of the dtype of `ours`. wanted: of any dtype."""
    step = 1.01 * HALF_STEPS[ours.dtype]
    torch.testing.assert_close(ours.double(), wanted.double(), rtol=step, atol=step)


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
