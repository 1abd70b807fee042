"""The codec decoder's transformer: attention over a window of each slot's rotated keys and values, a few frames a call.

RMSNorm and the rotation's angles are float32 whatever the weights' dtype, as upstream's are: the float64 engine is
compared with upstream sample by sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from worker.engine.qwen.codec.layers import linear


@dataclass(frozen=True, slots=True)
class Positions:
    """Attention mask and rotations of the new frames, shared by the layers.

    mask: 0 or -inf; [B, 1, n, n_past + n], on a CPU for each frame's window: [B * n, 1, n_past + 1].
    cos, sin: [B, n, 1, head]; sin carries the sign of `rotate_half`.
    """

    mask: Tensor
    cos: Tensor
    sin: Tensor


class Norm:
    """RMSNorm."""

    def __init__(self, upstream: Any) -> None:
        self._weight: Tensor = upstream.weight
        self._eps: float = upstream.variance_epsilon

    def __call__(self, x: Tensor) -> Tensor:
        if x.dtype is not torch.float64:
            return functional.rms_norm(x, self._weight.shape, self._weight, self._eps)
        wide = x.float()
        return self._weight * (wide * wide.square().mean(-1, keepdim=True).add_(self._eps).rsqrt_()).to(x.dtype)


class CodecLayer:
    """Upstream: DecoderTransformerLayer."""

    def __init__(self, upstream: Any, consume: bool) -> None:
        attention, mlp = upstream.self_attn, upstream.mlp
        self._head_size: int = attention.head_dim
        self._n_keys: int = attention.config.num_key_value_heads
        self._n_queries: int = attention.config.num_attention_heads
        projections = [attention.q_proj, attention.k_proj, attention.v_proj]
        self._bias = None if attention.q_proj.bias is None else torch.cat([p.bias for p in projections])
        self._qkv = fused(projections, consume)
        self._out = attention.o_proj
        self._gate_up = fused([mlp.gate_proj, mlp.up_proj], consume)
        self._down: Tensor = mlp.down_proj.weight
        is_silu = attention.config.hidden_act in ("silu", "swish")
        self._act = silu if is_silu and self._down.is_cpu else mlp.act_fn
        self._norms = Norm(upstream.input_layernorm), Norm(upstream.post_attention_layernorm)
        self._scales: tuple[Tensor, Tensor] = (upstream.self_attn_layer_scale.scale, upstream.mlp_layer_scale.scale)

    def __call__(self, x: Tensor, memory: Tensor, at: Positions) -> Tensor:
        """x [B, n, D]; memory [B, n_past + n, 2 * key heads, head], whose last n entries are written here."""
        x = torch.addcmul(x, self._scales[0], self._attend(self._norms[0](x), memory, at))
        gate, up = linear(self._norms[1](x), self._gate_up).chunk(2, -1)
        return torch.addcmul(x, self._scales[1], linear(self._act(gate) * up, self._down))

    def _attend(self, x: Tensor, memory: Tensor, at: Positions) -> Tensor:
        n_rows, n = x.shape[:2]
        qkv = linear(x, self._qkv, self._bias).view(n_rows, n, -1, self._head_size)
        qk = qkv[:, :, : self._n_queries + self._n_keys]
        swapped = qk.roll(self._head_size // 2, -1)
        qk.mul_(at.cos).addcmul_(swapped, at.sin)
        memory[:, -n:].copy_(qkv[:, :, self._n_queries :])
        queries = qkv[:, :, : self._n_queries]
        y = self._to_all(queries, memory, at.mask) if x.is_cuda else self._to_each_window(queries, memory, at.mask)
        return linear(y.reshape(n_rows, n, -1), self._out.weight, self._out.bias)

    def _to_all(self, queries: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        """Attention of queries [B, n, heads, head] to the whole memory at once: [B, n, heads, head]."""
        keys, values = memory.transpose(1, 2).chunk(2, 1)
        y = functional.scaled_dot_product_attention(
            queries.transpose(1, 2), keys, values, mask, enable_gqa=self._n_queries != self._n_keys
        )
        return y.transpose(1, 2)

    def _to_each_window(self, queries: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        """The same, each frame on a copy of its window, so that the order of its sums depends on no other frame."""
        windows = memory.unfold(1, mask.shape[-1], 1).transpose(-1, -2)  # [B, n, 2 * key heads, window, head]
        keys, values = (half.reshape(-1, *half.shape[3:]) for half in windows.chunk(2, 2))
        grouped = (queries * self._head_size**-0.5).reshape(len(keys), -1, self._head_size)
        scores = torch.bmm(grouped, keys.transpose(1, 2)).view(len(mask), self._n_queries, -1).add_(mask)
        return torch.bmm(scores.softmax(-1).view(*grouped.shape[:2], -1), values)


class Transformer:
    """From [B, n, latent] to [B, n, latent], with the keys and values of n_past earlier frames of each slot."""

    def __init__(self, upstream: Any, consume: bool) -> None:
        config = upstream.config
        self.n_past: int = config.sliding_window - 1
        self._in, self._out = upstream.input_proj, upstream.output_proj
        self._layers = [CodecLayer(layer, consume) for layer in upstream.layers]
        self._norm = Norm(upstream.norm)
        head_size = upstream.layers[0].self_attn.head_dim
        self.memory_shape = (len(self._layers), self.n_past, 2 * config.num_key_value_heads, head_size)
        frequencies = default_frequencies(upstream.rotary_emb)
        self._frequencies = torch.cat((frequencies, frequencies))  # [head]
        self._signs = torch.ones_like(self._frequencies)
        self._signs[: head_size // 2] = -1

    def __call__(self, x: Tensor, memory: Tensor, positions: Tensor) -> Tensor:
        """memory [B, layers, n_past + n, 2 * key heads, head]: its last n entries are written. positions int64 [B]."""
        x = linear(x, self._in.weight, self._in.bias)
        at = self._place(positions, x)
        for layer, its_memory in zip(self._layers, memory.unbind(1), strict=True):
            x = layer(x, its_memory, at)
        return linear(self._norm(x), self._out.weight, self._out.bias)

    def _place(self, positions: Tensor, x: Tensor) -> Positions:
        n = x.shape[1]
        # Fused attention on CUDA needs mask rows that begin at multiples of 16 bytes.
        key = torch.arange(-(-(self.n_past + n) // 8) * 8, device=x.device)
        query = key[:n, None]
        seen = (key >= query) & (key <= query + self.n_past) & (key >= (self.n_past - positions)[:, None, None])
        mask = torch.zeros(seen.shape, dtype=x.dtype, device=x.device).masked_fill_(~seen, float("-inf"))
        angles = (positions[:, None] + key[:n]).float()[:, :, None, None] * self._frequencies
        cos, sin = angles.cos().to(x.dtype), (angles.sin() * self._signs).to(x.dtype)
        if x.is_cuda:
            return Positions(mask[:, None, :, : self.n_past + n], cos, sin)
        n_keys = len(key)
        windows = mask.as_strided((len(x), n, self.n_past + 1), (n * n_keys, n_keys + 1, 1))
        return Positions(windows.reshape(-1, 1, self.n_past + 1), cos, sin)


def default_frequencies(rotary: Any) -> Tensor:
    """The angles by which a position rotates, float32 [head / 2]. Raises ValueError for another kind of rotation."""
    if rotary.rope_type != "default":
        raise ValueError(
            f"the codec's decoder rotates its keys by {rotary.rope_type!r}; this engine knows the default only: "
            "use the speech_tokenizer that came with the model"
        )
    frequencies: Tensor = rotary.inv_freq
    return frequencies.float()


def silu(x: Tensor) -> Tensor:
    """SiLU in operations whose vectorised and scalar results are equal; those of torch's SiLU differ on a CPU."""
    return x / x.neg().exp_().add_(1)


def fused(linears: list[Any], consume: bool) -> Tensor:
    """The linears' weights as one, [sum of outputs, inputs]. consume: frees the linears' own."""
    weight = torch.cat([linear.weight for linear in linears])
    if consume:
        for linear in linears:
            linear.weight = nn.Parameter(weight.new_empty(0), requires_grad=False)
    return weight
