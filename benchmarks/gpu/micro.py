"""The part `micro`: what a launch, a product, a norm, attention and a convolution cost on this card.

Shapes are those of Qwen3-TTS-12Hz-0.6B. Times are of calls inside a CUDA graph, as the engine makes them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks.gpu import card
from benchmarks.gpu.steps import Options, Step

if TYPE_CHECKING:
    from torch import Tensor

LAYER = {"qkv": (4096, 1024), "out": (1024, 2048), "gate_up": (6144, 1024), "down": (1024, 3072)}  # outputs, inputs
ROWS = (1, 2, 4, 8, 16, 32, 64)
FEW_ROWS = (1, 8, 64)
COLD_BYTES = 2**28  # weights of one shape that are read in turn: several times the L2 cache
CODEC_BLOCKS = ((768, 32), (384, 160), (192, 640), (96, 1920))  # channels, samples a frame
ATTENDED = (256, 512, 1024, 2048)


def steps(options: Options) -> list[Step]:
    micro = Micro(options)
    return [
        Step("device", 90, lambda: card.device(options), is_needed=True),
        Step("launches", 30, micro.launches),
        Step("products", 60, micro.products),
        Step("norms and draws", 30, micro.norms_and_draws),
        Step("attention", 40, micro.attention),
        Step("convolutions", 90, micro.convolutions),
    ]


def _each(weights: list[Tensor], function: Callable[[Tensor], Tensor]) -> None:
    for weight in weights:
        function(weight)


class Micro:
    """The steps' functions. On a CPU they run with small shapes, as a test of themselves."""

    def __init__(self, options: Options) -> None:
        self._device = options.device
        self._is_cuda = options.is_cuda
        self._rows: tuple[int, ...] = ROWS if options.is_cuda else (1, 2)
        self._few: tuple[int, ...] = FEW_ROWS if options.is_cuda else (1, 2)

    @property
    def _timing(self) -> Any:
        from benchmarks.gpu.timing import Timing

        return Timing(self._device)

    def _random(self, *shape: int, dtype: str = "bfloat16") -> Tensor:
        import torch

        return torch.randn(*shape, device=self._device).to(getattr(torch, dtype))

    def launches(self) -> dict[str, float]:
        """µs of the smallest kernels, which a frame has a thousand of."""
        from torch.nn import functional

        one, wide = self._random(1, dtype="float32"), self._random(64, 24, 128, dtype="float32")
        a, b, gate = self._random(1024), self._random(1024), self._random(1, 3072)
        us = self._timing.us
        return {
            "add to 1 number": us(lambda: one.add_(1), 1000),
            "add to 64 x 24 x 128 float32": us(lambda: wide.add_(1), 500),
            "copy of 1024 numbers, a memcpy node": us(lambda: b.copy_(a), 500),
            "silu of 3072": us(lambda: functional.silu(gate), 500),
        }

    def products(self) -> dict[str, Any]:
        """µs and GB/s of a layer's four products, with more weights in turn than the L2 cache holds."""
        import torch
        from torch.nn import functional

        us, found = self._timing.us, {}
        for name, (n_out, n_in) in LAYER.items():
            n = COLD_BYTES // (n_out * n_in * 2) if self._is_cuda else 1
            weights = [self._random(n_out, n_in) for _ in range(n)]
            for rows in self._rows:
                x, residual = self._random(rows, n_in), self._random(rows, n_out)
                each = us(partial(_each, weights, partial(functional.linear, x))) / n
                added = us(partial(_each, [w.t() for w in weights], partial(torch.addmm, residual, x))) / n
                found[f"{name}, {rows} rows"] = {
                    "us": round(each, 2),
                    "GB/s": round(n_out * n_in * 2e-3 / each),
                    "us of addmm": round(added, 2),
                }
        return found

    def norms_and_draws(self) -> dict[str, Any]:
        """µs of the torch operations that our kernels replace."""
        from torch.nn import functional

        us, found = self._timing.us, {}
        for rows in self._few:
            x, heads, weight = self._random(rows, 1024), self._random(rows, 32, 128), self._random(1024)
            logits = self._random(rows, 2048, dtype="float32")
            found[f"{rows} rows"] = {
                "rms_norm": us(partial(functional.rms_norm, x, (1024,), weight, 1e-6), 100),
                "rms_norm of heads": us(partial(functional.rms_norm, heads, (128,), None, 1e-6), 100),
                "topk 64 of 2048": us(partial(logits.topk, 64, 1), 50),
                "argmax of 2048": us(partial(logits.argmax, 1), 50),
            }
        return found

    def attention(self) -> dict[str, Any]:
        """µs of torch's attention of one token over a cache: with a mask, and of the predictor without."""
        import torch
        from torch.nn import functional

        from worker.engine.qwen.cuda import attention

        us, found, longest = self._timing.us, {}, ATTENDED[-1] if self._is_cuda else ATTENDED[0]
        attend = functional.scaled_dot_product_attention
        for rows in self._few:
            keys, values = (self._random(rows, 8, longest, 128) for _ in range(2))
            q, plain = self._random(rows, 8, 2, 128), self._random(rows, 16, 1, 128)
            with attention(torch.device(self._device)):
                for n in ATTENDED if self._is_cuda else ATTENDED[:1]:
                    mask = torch.zeros(rows, 1, 1, n, device=self._device, dtype=q.dtype)
                    mask[..., 200:] = -torch.inf
                    found[f"{rows} rows, masked, {n}"] = us(
                        partial(attend, q, keys[:, :, :n], values[:, :, :n], mask), 10
                    )
                short = keys[:, :, :9], values[:, :, :9]
                found[f"{rows} rows, predictor, 9"] = us(partial(attend, plain, *short, enable_gqa=True), 50)
        return found

    def convolutions(self) -> dict[str, Any]:
        """µs of the codec's inner convolutions by dtype, channels first and last."""
        import torch
        from torch.nn import functional

        us, found = self._timing.us, {}
        shapes = ((1, 1), (64, 4)) if self._is_cuda else ((1, 1),)
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # as serving; `enabled` is off unless given
            for channels, samples in CODEC_BLOCKS if self._is_cuda else CODEC_BLOCKS[:1]:
                for rows, frames in shapes:
                    for dtype in ("bfloat16", "float16", "float32"):
                        x = self._random(rows, channels, 1, samples * frames + 6, dtype=dtype)
                        weight = self._random(channels, channels, 1, 7, dtype=dtype)
                        last = [tensor.to(memory_format=torch.channels_last) for tensor in (x, weight)]
                        found[f"{channels} channels, {rows} x {frames} frames, {dtype}"] = {
                            "us channels first": us(partial(functional.conv2d, x, weight), 5, 5),
                            "us channels last": us(partial(functional.conv2d, *last), 5, 5),
                        }
        return found
