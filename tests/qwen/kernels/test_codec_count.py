"""What a codec chunk costs a GPU, counted on fake tensors of the full shapes: launches, and numbers that are moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

pytest.importorskip("triton")
from tests.qwen.fake_gpu import DEVICE, NO_KERNEL, CaptureRules, fake_decoder, fake_tensors, is_composite
from tests.qwen.test_checkpoint_memory import n_bytes
from worker.engine.qwen.codec.decoder import Codec

N_SLOTS, MOST_LAUNCHES = 64, 250
SHAPES = pytest.mark.parametrize(("n_rows", "n_frames"), [(1, 1), (64, 12)])
PRODUCTS = ("mm", "addmm", "baddbmm", "bmm", "convolution", "cudnn_convolution")


class Traffic(TorchDispatchMode):
    """Counts the numbers that kernels beside the products read and write, except in `arenas`."""

    def __init__(self, arenas: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._arenas = {id(arena) for arena in arenas}
        self.n_numbers = 0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name
        if name != "aten::scaled_dot_product_attention" and is_composite(func):
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        if not func.is_view and not name.startswith(NO_KERNEL) and not name.removeprefix("aten::").startswith(PRODUCTS):
            self.n_numbers += self._size((args, kwargs)) + self._size(result)
            if result is None:
                written = [a for a, given in zip(func._schema.arguments, args, strict=False) if a.is_write]
                self.n_numbers += sum(self._size(args[func._schema.arguments.index(a)]) for a in written)
        return result

    def _size(self, given: Any) -> int:
        tensors = [leaf for leaf in tree_leaves(given) if isinstance(leaf, Tensor)]
        return sum(tensor.numel() for tensor in tensors if id(tensor) not in self._arenas)


@pytest.fixture(scope="module")
def codecs() -> dict[str, Codec]:
    with fake_tensors(), torch.inference_mode():
        upstream = fake_decoder("full", torch.float16)
        return {kernels: Codec(upstream, N_SLOTS, kernels=kernels) for kernels in ("torch", "triton")}


def decode(codec: Codec, n_rows: int, n_frames: int) -> Tensor:
    codes = torch.zeros(n_rows, n_frames, 16, dtype=torch.int64, device=DEVICE)
    return codec.decode(codes, torch.zeros(n_rows, dtype=torch.int64, device=DEVICE))


@SHAPES
def test_a_chunk_is_at_most_250_launches(codecs: dict[str, Codec], n_rows: int, n_frames: int) -> None:
    with fake_tensors(), torch.inference_mode(), CaptureRules() as rules:
        pcm = decode(codecs["triton"], n_rows, n_frames)
    assert (pcm.shape, pcm.dtype) == ((n_rows, n_frames * 1920), torch.float32)
    assert rules.kernels.total() <= MOST_LAUNCHES, rules.kernels
    assert rules.kernels["clone"] <= 2, "the windows of two convolutions are copied, and no layout is changed"


@SHAPES
def test_beside_its_products_a_chunk_moves_a_third_of_what_eager_torch_does(
    codecs: dict[str, Codec], n_rows: int, n_frames: int
) -> None:
    moved = {}
    for name, codec in codecs.items():
        with fake_tensors(), torch.inference_mode(), Traffic(list(codec._state.values())) as traffic:
            decode(codec, n_rows, n_frames)
        moved[name] = traffic.n_numbers
    print(f"numbers moved beside products, {n_rows} x {n_frames}: {moved}")
    assert moved["triton"] <= moved["torch"] / 3


def test_weights_are_held_once(codecs: dict[str, Codec]) -> None:
    with fake_tensors(), torch.inference_mode():
        upstream = fake_decoder("full", torch.float16)
        for_weights = n_bytes(upstream)
        codec = Codec(upstream, N_SLOTS, consume=True, kernels="triton")
        held = n_bytes(upstream, codec) - n_bytes(codec._state)
    assert held == pytest.approx(for_weights, rel=0.01)
