"""A stack of layers with nine operations each: four products, and what is between them, done by kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from worker.engine.checkpoint.files import ModelError
from worker.engine.qwen.loader import Kernels
from worker.engine.qwen.transformer import Cache, Shape, Stack

AttendFused = Callable[[Tensor, Cache], Tensor]  # (queries, keys and values [N, (HQ + 2 HK) * D], cache) -> [N, HQ * D]


class Ops(Protocol):
    """What a layer does beside its products. Shapes: worker.engine.qwen.kernels."""

    def rms(self, x: Tensor, weight: Tensor, eps: float, /) -> Tensor: ...

    def add_rms(self, x: Tensor, y: Tensor, weight: Tensor, eps: float, /) -> tuple[Tensor, Tensor]: ...

    def qk(
        self, qkv: Tensor, weight: Tensor, cis: Tensor, positions: Tensor, rows: Tensor, keys: Tensor, values: Tensor,
        eps: float, /,
    ) -> None: ...  # fmt: skip

    def attend(
        self, qkv: Tensor, keys: Tensor, values: Tensor, rows: Tensor, positions: Tensor, /
    ) -> Tensor: ...  # fmt: skip

    def attend_packed(self, qkv: Tensor, starts: Tensor, n_kv_heads: int, width: int, /) -> Tensor: ...

    def silu_mul(self, gate_up: Tensor, /) -> Tensor: ...


class FusedStack(Stack):
    """The same layers as `Stack`'s. n_positions: of the caches."""

    def __init__(self, model: nn.Module, config: Any, ops: Ops, n_positions: int) -> None:
        super().__init__(model, config)
        self._ops = ops
        self._pairs = torch.view_as_real(self.rotations(n_positions)).squeeze(1).contiguous()

    def decode(
        self, x: Tensor, rows: Tensor, positions: Tensor, caches: Sequence[Cache], attend: AttendFused | None = None
    ) -> Tensor:
        """The normed last hidden states [N, D] of N tokens x [N, D], each at its place in the caches.

        rows, positions: int64 [N]. Tokens of one row attend to each other in the order of their positions.
        """
        ops = self._ops

        def attend_own(qkv: Tensor, cache: Cache) -> Tensor:
            return ops.attend(qkv, cache.keys, cache.values, rows, positions)

        norms = [*(layer.norm for layer in self._layers[1:]), self._norm]
        normed = ops.rms(x, self._layers[0].norm, self.shape.eps)
        for n, (cache, norm) in enumerate(zip(caches, norms, strict=True)):
            qkv = self._projected(n, normed, rows, positions, cache)
            x, normed = self._rest(n, x, (attend or attend_own)(qkv, cache), norm)
        return normed

    def fill_packed(self, x: Tensor, rows: Tensor, positions: Tensor, starts: Tensor, caches: Sequence[Cache]) -> None:
        """Write the caches for packed tokens x [T, D]. Token t attends to the tokens starts[t] to t. starts: int64 [T].

        The rest of the last layer is not computed.
        """
        ops, shape = self._ops, self.shape

        def attend(qkv: Tensor, _: Cache) -> Tensor:
            return ops.attend_packed(qkv, starts, shape.n_kv_heads, shape.head_dim)

        self.fill_places(x, rows, positions, caches, attend)

    def fill_places(
        self, x: Tensor, rows: Tensor, positions: Tensor, caches: Sequence[Cache], attend: AttendFused
    ) -> None:
        """Write the caches for tokens x [T, D] at their places."""
        last = len(caches) - 1
        normed = self._ops.rms(x, self._layers[0].norm, self.shape.eps)
        for n, cache in enumerate(caches):
            qkv = self._projected(n, normed, rows, positions, cache)
            if n < last:
                x, normed = self._rest(n, x, attend(qkv, cache), self._layers[n + 1].norm)

    def _projected(self, n: int, normed: Tensor, rows: Tensor, positions: Tensor, cache: Cache) -> Tensor:
        """Queries, keys and values of layer n; keys and values are written to the cache."""
        layer = self._layers[n]
        qkv = layer.qkv.times(normed)
        self._ops.qk(qkv, layer.qk_norm, self._pairs, positions, rows, cache.keys, cache.values, self.shape.eps)
        return qkv

    def _rest(self, n: int, x: Tensor, attended: Tensor, norm: Tensor) -> tuple[Tensor, Tensor]:
        """x after layer n, and that normed by the next layer's weight."""
        layer = self._layers[n]
        x, normed = self._ops.add_rms(x, layer.out.times(attended), layer.mlp_norm, self.shape.eps)
        gated = self._ops.silu_mul(layer.gate_up.times(normed))
        return self._ops.add_rms(x, layer.down.times(gated), norm, self.shape.eps)


def stack_of(model: nn.Module, config: Any, kernels: Kernels, n_tokens: int, n_positions: int) -> Stack:
    """The layers of a model with these kernels; "torch": eager. n_tokens: the most that `decode` is given at once.

    Raises ModelError for heads that the kernels cannot hold.
    """
    if kernels == "torch":
        return Stack(model, config)
    if kernels == "loops":
        from worker.engine.qwen.cpu import layers

        return FusedStack(model, config, layers, n_positions)
    from worker.engine.qwen.kernels.ops import TritonOps

    shape = Shape.of(config)
    if shape.head_dim < 16 or shape.head_dim & (shape.head_dim - 1):
        raise ModelError(f"the kernels hold no heads of {shape.head_dim} numbers", "use kernels=torch")
    device = next(model.parameters()).device
    return FusedStack(model, config, TritonOps(n_tokens * shape.n_kv_heads, device), n_positions)
