"""The transformer of `fused`: nine launches a layer, keys and values in a ring of each slot."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from worker.engine.qwen.codec.tables import vector
from worker.engine.qwen.codec.transformer import default_frequencies, fused
from worker.engine.qwen.kernels import codec_frames, layers


class FusedNorm:
    """RMSNorm of a sum that is made with it."""

    def __init__(self, upstream: Any) -> None:
        self._weight = vector(upstream.weight)
        self._eps: float = upstream.variance_epsilon

    def __call__(self, x: Tensor, y: Tensor | None = None, scale: Tensor | None = None) -> Tensor:
        """Adds scale * y to x in place, if there is a y."""
        normed: Tensor = codec_frames.codec_add_rms(x, self._weight, self._eps, y, scale)
        return normed


class FusedLayer:
    """Upstream: DecoderTransformerLayer, whose first norm belongs to the layer before."""

    def __init__(self, upstream: Any, index: int, window: int, frequencies: Tensor, consume: bool) -> None:
        attention, mlp = upstream.self_attn, upstream.mlp
        projections = [attention.q_proj, attention.k_proj, attention.v_proj]
        self._index, self._window, self._frequencies = index, window, frequencies
        self._bias = None if attention.q_proj.bias is None else torch.cat([p.bias for p in projections])
        self._qkv = fused(projections, consume)
        self._out = attention.o_proj
        self._gate_up = fused([mlp.gate_proj, mlp.up_proj], consume)
        self._down: Tensor = mlp.down_proj.weight
        self._act = None if attention.config.hidden_act in ("silu", "swish") else mlp.act_fn
        self._norm = FusedNorm(upstream.post_attention_layernorm)
        self._scales = vector(upstream.self_attn_layer_scale.scale), vector(upstream.mlp_layer_scale.scale)

    def __call__(
        self, x: Tensor, normed: Tensor, ring: Tensor, slots: Tensor, starts: Tensor, next_norm: FusedNorm
    ) -> Tensor:
        """x [B, n, D] becomes the layer's output; returns its norm for the next layer."""
        qkv = functional.linear(normed, self._qkv, self._bias)
        queries = codec_frames.codec_rotate(qkv, ring, self._index, slots, starts, self._frequencies)
        y = codec_frames.codec_attend(queries, ring, self._index, slots, starts, self._window)
        y = functional.linear(y, self._out.weight, self._out.bias)
        gate_up = functional.linear(self._norm(x, y, self._scales[0]), self._gate_up)
        return next_norm(x, functional.linear(self._activated(gate_up), self._down), self._scales[1])

    def _activated(self, gate_up: Tensor) -> Tensor:
        if self._act is None:
            product: Tensor = layers.silu_mul(gate_up.flatten(0, 1)).view(*gate_up.shape[:2], -1)
        else:
            gate, up = gate_up.chunk(2, -1)
            product = self._act(gate) * up
        return product


class FusedTransformer:
    """From [B, n, latent] to [B, n, latent]."""

    def __init__(self, upstream: Any, most_frames: int, consume: bool) -> None:
        config = upstream.config
        frequencies = default_frequencies(upstream.rotary_emb)
        window: int = config.sliding_window
        head_size = upstream.layers[0].self_attn.head_dim
        self.ring_shape = (len(upstream.layers), 2 * config.num_key_value_heads, window + most_frames - 1, head_size)
        self._in, self._out = upstream.input_proj, upstream.output_proj
        self._layers = [
            FusedLayer(layer, index, window, frequencies, consume) for index, layer in enumerate(upstream.layers)
        ]
        self._norms = [FusedNorm(layer.input_layernorm) for layer in upstream.layers] + [FusedNorm(upstream.norm)]

    def __call__(self, x: Tensor, ring: Tensor, slots: Tensor, starts: Tensor) -> Tensor:
        """ring: every slot's, of which the entries of the new frames are written. starts int64 [B]: first positions."""
        x = functional.linear(x, self._in.weight, self._in.bias)
        normed = self._norms[0](x)
        for layer, norm in zip(self._layers, self._norms[1:], strict=True):
            normed = layer(x, normed, ring, slots, starts, norm)
        return functional.linear(normed, self._out.weight, self._out.bias)
