"""The codec decoder of a GPU: the function of `Codec` in launches that are few and read each number rarely.

Everything is [B, T, C]. A layer's bias is left out of its product and added where the next kernel reads it, so that a
residual sum is a product in place. Vectors (biases, norms, scales) have the dtype that kernels compute in. A slot's
state is read and written where it lies, and nothing else is kept: calls on other slots may run at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from worker.engine.qwen.codec.fused_transformer import FusedTransformer
from worker.engine.qwen.codec.fused_vocoder import EarlyConv, FusedVocoder
from worker.engine.qwen.codec.layers import Layout
from worker.engine.qwen.codec.tables import code_tables, taken
from worker.engine.qwen.kernels import codec_frames


class FusedDecoder:
    """From codes [B, n, 16] to samples [B, n * 1920].

    most_frames: that are decoded in one pass.
    """

    def __init__(self, upstream: Any, most_frames: int, consume: bool) -> None:
        self._most_frames = most_frames
        layout = Layout()
        quantizer = upstream.quantizer
        self._table = code_tables(quantizer, consume)
        self._n_semantic: int = quantizer.n_q_semantic
        halves = (quantizer.rvq_first.output_proj, quantizer.rvq_rest.output_proj)
        self._project = torch.cat([taken(half, consume).squeeze(-1) for half in halves], 1)
        self._pre_conv = EarlyConv(upstream.pre_conv, layout, True, consume)
        self._transformer = FusedTransformer(upstream.pre_transformer, most_frames, consume)
        self._vocoder = FusedVocoder(upstream, layout, consume)
        self._width = layout.width

    def state(self, n_slots: int) -> dict[str, Tensor]:
        """The state of slots at the start of a stream."""
        like = self._table
        return {
            "frames": torch.zeros(n_slots, dtype=torch.int64, device=like.device),
            "attention": like.new_zeros(n_slots, *self._transformer.ring_shape),
            "convolutions": like.new_zeros(n_slots, self._width),
        }

    def __call__(self, codes: Tensor, slots: Tensor, state: Mapping[str, Tensor]) -> Tensor:
        """Float32 [B, n * 1920] in -1..1. `state` is written."""
        if codes.shape[1] > self._most_frames:
            return torch.cat([self(part, slots, state) for part in codes.split(self._most_frames, 1)], 1)
        ring, convolutions = state["attention"], state["convolutions"]
        starts = codec_frames.codec_advance(state["frames"], slots, codes.shape[1])
        vectors = codec_frames.codec_codebooks(codes.contiguous(), self._table, self._n_semantic)
        x = functional.linear(vectors, self._project)
        x = self._pre_conv(x, convolutions, slots)
        x = self._transformer(x, ring, slots, starts)
        pcm: Tensor = self._vocoder(x, convolutions, slots)
        return pcm
