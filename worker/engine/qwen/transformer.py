"""The fused decoder layers of talker and code predictor: one product for q, k and v, one for gate and up.

Rotary pairs are adjacent: fusing permutes the rows of q and k within each head, which leaves every attention score
unchanged and makes a rotation one complex product. Norms, rotations and logits are computed in float32, whatever the
dtype of the weights. RMSNorm is float32 also in a float64 engine, as upstream's is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from worker.engine.checkpoint.files import ModelError
from worker.engine.qwen.matrix import Matrix

Attend = Callable[["Cache", Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Cache:
    """The KV cache of one layer: keys and values, [rows, kv heads, positions, head_dim] each."""

    keys: Tensor
    values: Tensor

    def write(self, at: Tensor, keys: Tensor, values: Tensor) -> None:
        """Write keys and values [N, kv heads, head_dim] to the flat indices `at` [N * kv heads] of `Shape.places`."""
        width = keys.shape[-1]
        flat_keys, flat_values = self.keys.view(-1, width), self.values.view(-1, width)
        if keys.is_cuda:  # index_put_ takes non-contiguous values there without a copy
            index = (at.view(keys.shape[:-1]),)
            flat_keys.index_put_(index, keys)
            flat_values.index_put_(index, values)
            return
        flat_keys.index_copy_(0, at, keys.reshape(-1, width))
        flat_values.index_copy_(0, at, values.reshape(-1, width))


@dataclass(frozen=True, slots=True)
class Shape:
    """The dimensions of a stack of layers."""

    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    eps: float

    @property
    def n_groups(self) -> int:
        """Queries' heads for each of the keys'."""
        return self.n_heads // self.n_kv_heads

    @classmethod
    def of(cls, config: Any) -> Shape:
        """From upstream's config of talker or predictor. Raises ModelError for layers that no Qwen3-TTS has."""
        if config.hidden_act != "silu" or config.attention_bias or config.sliding_window is not None:
            raise ModelError("the model has biases, windows or another activation", "use a Qwen3-TTS Base model")
        return cls(
            config.num_hidden_layers,
            config.num_attention_heads,
            config.num_key_value_heads,
            getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
            config.rms_norm_eps,
        )

    def caches(self, n_rows: int, n_positions: int, like: Tensor) -> tuple[Cache, ...]:
        """Empty caches, one for each layer."""
        size = (n_rows, self.n_kv_heads, n_positions, self.head_dim)
        return tuple(Cache(like.new_zeros(size), like.new_zeros(size)) for _ in range(self.n_layers))

    def places(self, rows: Tensor, positions: Tensor, n_positions: int) -> Tensor:
        """The flat cache indices of token n, in row rows[n] at positions[n], for all n: int64 [N * kv heads]."""
        heads = torch.arange(self.n_kv_heads, device=rows.device)
        return ((rows[:, None] * self.n_kv_heads + heads) * n_positions + positions[:, None]).flatten()


@dataclass(frozen=True, slots=True)
class _TalkerLayer:
    norm: Tensor
    qkv: Matrix
    qk_norm: Tensor
    out: Matrix
    mlp_norm: Tensor
    gate_up: Matrix
    down: Matrix


class Stack:
    """The layers and final norm of an upstream model. Takes the weights out of it, so that it cannot run afterwards."""

    def __init__(self, model: nn.Module, config: Any) -> None:
        self.shape = Shape.of(config)
        model_: Any = model
        self._rotary: Any = model_.rotary_emb
        self._layers = tuple(_fused(layer, self.shape) for layer in model_.layers)
        self._norm: Tensor = model_.norm.weight.detach()
        self._has_fused_norm = _has_fused_norm(self._norm)
        self._eps = torch.full((1,), self.shape.eps, dtype=torch.float32, device=self._norm.device)

    @property
    def like(self) -> Tensor:
        """A tensor of the stack's dtype and device."""
        return self._norm

    @property
    def is_packed(self) -> bool:
        """Whether oneDNN multiplies by a layer's matrices."""
        layer = self._layers[0]
        return any(matrix.is_packed for matrix in (layer.qkv, layer.out, layer.gate_up, layer.down))

    def rotations(self, n_positions: int) -> Tensor:
        """cos + i sin of every position: complex [n_positions, 1, head_dim / 2], angles from float32."""
        positions = torch.arange(n_positions, device=self._norm.device, dtype=torch.float32)
        angles = positions[:, None] * self._rotary.inv_freq.to(self._norm.device).float()
        scale = float(self._rotary.attention_scaling)
        cis = torch.complex(angles.cos() * scale, angles.sin() * scale)[:, None]
        return cis.to(torch.complex128) if self._norm.dtype == torch.float64 else cis

    def run(self, x: Tensor, cis: Tensor, at: Tensor, caches: tuple[Cache, ...], attend: Attend) -> Tensor:
        """The normed last hidden states [N, D] of N tokens. x: [N, D]. cis: [N or 1, 1, head_dim / 2]. at: `places`."""
        for layer, cache in zip(self._layers, caches, strict=True):
            x = self._through(layer, x, attend, (cache, *self._remember(layer, x, cis, at, cache)))
        return self._normed(x, self._norm)

    def fill(self, x: Tensor, cis: Tensor, at: Tensor, caches: tuple[Cache, ...], attend: Attend) -> None:
        """Write the same caches as `run`, without computing the rest of the last layer."""
        *layers, last = zip(self._layers, caches, strict=True)
        for layer, cache in layers:
            x = self._through(layer, x, attend, (cache, *self._remember(layer, x, cis, at, cache)))
        self._remember(last[0], x, cis, at, last[1])

    def _remember(self, layer: _TalkerLayer, x: Tensor, cis: Tensor, at: Tensor, cache: Cache) -> tuple[Tensor, ...]:
        """Queries, keys and values [N, heads, head_dim]; keys and values are written to the cache."""
        n_heads, head_dim = self.shape.n_heads, self.shape.head_dim
        n_qk = n_heads + self.shape.n_kv_heads
        qkv = layer.qkv.times(self._normed(x, layer.norm)).view(len(x), -1, head_dim)
        qk = self._rotated(self._normed_heads(qkv, n_qk, layer.qk_norm), cis).to(x.dtype)
        keys, values = qk[:, n_heads:], qkv[:, n_qk:]
        cache.write(at, keys, values)
        return qk[:, :n_heads], keys, values

    def _through(self, layer: _TalkerLayer, x: Tensor, attend: Attend, attended: tuple[Any, ...]) -> Tensor:
        x = layer.out.added(attend(*attended), x)
        gate_up = layer.gate_up.times(self._normed(x, layer.mlp_norm))
        return layer.down.added(_gated(gate_up), x)

    def _normed(self, x: Tensor, weight: Tensor) -> Tensor:
        """RMSNorm over the last dimension, in float32: https://arxiv.org/abs/1910.07467."""
        if self._has_fused_norm:
            return functional.rms_norm(x, weight.shape, weight, self.shape.eps)
        full = x.float()
        norm = torch.linalg.vector_norm(full, dim=-1, keepdim=True)
        scale = torch.addcmul(self._eps, norm, norm, value=1 / x.shape[-1]).rsqrt_()
        return (full * scale).to(x.dtype).mul_(weight)

    def _normed_heads(self, x: Tensor, n: int, weight: Tensor) -> Tensor:
        """Each of the first n heads of x [N, heads, head_dim] normed by its weight [n, head_dim]."""
        if self._has_fused_norm:  # norms all heads, as a slice would be copied; `weight` is float32, for the rotation
            return functional.rms_norm(x, x.shape[-1:], None, self.shape.eps)[:, :n] * weight
        return self._normed(x[:, :n], weight)

    @staticmethod
    def _rotated(x: Tensor, cis: Tensor) -> Tensor:
        """RoPE: x [N, heads, head_dim] rotated by cis [N or 1, 1, head_dim / 2]: https://arxiv.org/abs/2104.09864."""
        wide = x if x.dtype == torch.float64 else x.float()
        pairs = torch.view_as_complex(wide.view(*x.shape[:-1], -1, 2))
        return torch.view_as_real(pairs * cis).flatten(-2)


def attend_fresh(n_tokens: int) -> Attend:
    """Causal attention of each run of `n_tokens` tokens over itself, for a prefill."""

    def attend(_: Cache, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        q, k, v = (x.view(-1, n_tokens, *x.shape[1:]).transpose(1, 2) for x in (queries, keys, values.contiguous()))
        attended = functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return attended.transpose(1, 2).reshape(queries.shape[0], -1)

    return attend


def attend_after(row: int, positions: Tensor, n_groups: int, like: Tensor) -> Attend:
    """Attention of one row's tokens over its cache, each up to its own position. positions: int64 [T], ascending.

    n_groups: queries' heads for each of the keys'. like: a tensor of the stack's dtype.
    """
    n_tokens, n = len(positions), int(positions[-1]) + 1
    is_ahead = torch.arange(n, device=positions.device) > positions.repeat(n_groups)[:, None]
    mask = like.new_zeros(is_ahead.shape).masked_fill_(is_ahead, -torch.inf)[None, None]

    def attend(cache: Cache, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        k, v = cache.keys[row, None, :, :n], cache.values[row, None, :, :n]
        # A kv head's queries are passed as its tokens: no fused kernel takes grouped queries with a mask.
        q = queries.view(n_tokens, k.shape[1], n_groups, -1).permute(1, 2, 0, 3).reshape(1, k.shape[1], -1, k.shape[3])
        attended = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return attended.view(-1, n_groups, n_tokens, k.shape[3]).permute(2, 0, 1, 3).reshape(n_tokens, -1)

    return attend


def attend_packed(starts: Tensor) -> Attend:
    """Attention of each token of a pack over the pack's tokens from starts[t] to t. starts: int64 [T]."""
    tokens = torch.arange(len(starts), device=starts.device)
    is_attended = (tokens >= starts[:, None]) & (tokens <= tokens[:, None])

    def attend(_: Cache, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        n_groups = queries.shape[1] // keys.shape[1]
        k, v = (x.repeat_interleave(n_groups, 1, output_size=queries.shape[1]).transpose(0, 1) for x in (keys, values))
        q = queries.transpose(0, 1)
        mask = torch.zeros_like(is_attended, dtype=q.dtype).masked_fill_(~is_attended, -torch.inf)
        attended = functional.scaled_dot_product_attention(q[None], k[None], v[None], attn_mask=mask[None, None])
        return attended[0].transpose(0, 1).reshape(len(queries), -1)

    return attend


def attend_prefix(n_rows: int, n_positions: int) -> Attend:
    """Attention of one token in each of the first rows over the cache's first positions."""

    def attend(cache: Cache, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        k, v = cache.keys[:n_rows, :, :n_positions], cache.values[:n_rows, :, :n_positions]
        attended = functional.scaled_dot_product_attention(queries.unsqueeze(2), k, v, enable_gqa=True)
        return attended.view(n_rows, -1)

    return attend


def attend_each(attended: Sequence[tuple[int, int]]) -> Attend:
    """Attention of one token in each (row, its number of positions), a row at a time and without a mask."""

    def attend(cache: Cache, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        # A kv head's queries are passed as its tokens, so that no key is copied for another head.
        grouped = queries.view(len(queries), 1, keys.shape[1], -1, queries.shape[-1])
        out = [
            functional.scaled_dot_product_attention(q, cache.keys[row, None, :, :n], cache.values[row, None, :, :n])
            for q, (row, n) in zip(grouped, attended, strict=True)
        ]
        return torch.cat(out).view(len(queries), -1)

    return attend


def attend_gathered(rows: Tensor, mask: Tensor) -> Attend:
    """Attention of one token in each of the rows over copies of their caches. mask: [rows, 1, 1, positions], added."""

    def attend(cache: Cache, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        k, v = cache.keys.index_select(0, rows), cache.values.index_select(0, rows)
        # No fused kernel takes grouped queries with a mask, so a kv head's queries are passed as its tokens.
        q = queries.view(len(rows), k.shape[1], -1, queries.shape[-1])
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask).reshape(len(rows), -1)

    return attend


def _has_fused_norm(weight: Tensor) -> bool:
    """Whether torch's fused RMSNorm is used. It is slow on a CPU, and in float64 it differs from upstream's."""
    return weight.is_cuda and weight.dtype != torch.float64


def _gated(gate_up: Tensor) -> Tensor:
    """silu(gate) * up. On a CPU by exp, which is several times faster there than torch's sigmoid."""
    gate, up = gate_up.chunk(2, -1)
    if gate.device.type == "cpu":
        return (gate * up).div_(torch.neg(gate).exp_().add_(1))
    return functional.silu(gate).mul_(up)


def _fused(layer: Any, shape: Shape) -> _TalkerLayer:
    attention, mlp = layer.self_attn, layer.mlp
    pairs = torch.arange(shape.head_dim).view(2, -1).t().flatten().to(attention.q_proj.weight.device)

    def paired(weight: Tensor) -> Tensor:
        return weight.view(-1, shape.head_dim, *weight.shape[1:])[:, pairs].reshape(weight.shape)

    q_norm, k_norm = (paired(norm.weight.detach()) for norm in (attention.q_norm, attention.k_norm))
    qk_norm = torch.cat((q_norm.expand(shape.n_heads, -1), k_norm.expand(shape.n_kv_heads, -1)))
    return _TalkerLayer(
        norm=layer.input_layernorm.weight.detach(),
        qkv=Matrix(
            torch.cat((paired(taken(attention.q_proj)), paired(taken(attention.k_proj)), taken(attention.v_proj)))
        ),
        qk_norm=qk_norm.float() if _has_fused_norm(qk_norm) else qk_norm,
        out=Matrix(taken(attention.o_proj)),
        mlp_norm=layer.post_attention_layernorm.weight.detach(),
        gate_up=Matrix(torch.cat((taken(mlp.gate_proj), taken(mlp.up_proj)))),
        down=Matrix(taken(mlp.down_proj)),
    )


def taken(linear: nn.Linear) -> Tensor:
    """The layer's weight, taken out of it: fusing must not hold every matrix twice."""
    weight = linear.weight.detach()
    linear.weight = nn.Parameter(weight.new_empty(0), requires_grad=False)
    return weight
