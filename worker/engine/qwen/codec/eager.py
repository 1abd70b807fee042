"""The codec decoder in eager torch: the reference, and the decoder of a CPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from worker.engine.base import FRAME_SAMPLES
from worker.engine.qwen.codec.layers import CausalConv, Layout, Vocoder, linear
from worker.engine.qwen.codec.tables import code_tables
from worker.engine.qwen.codec.transformer import Transformer


class EagerDecoder:
    """From codes [B, n, 16] to samples [B, n * 1920]."""

    def __init__(self, upstream: Any, consume: bool) -> None:
        layout = Layout()
        self._codebooks = Codebooks(upstream.quantizer, consume)
        self._pre_conv = CausalConv(upstream.pre_conv, layout, is_early=True)
        self._transformer = Transformer(upstream.pre_transformer, consume)
        self._vocoder = Vocoder(upstream, layout)
        self._width = layout.width
        self._like: Tensor = upstream.pre_conv.conv.weight

    def state(self, n_slots: int) -> dict[str, Tensor]:
        """The state of slots at the start of a stream."""
        return {
            "frames": torch.zeros(n_slots, dtype=torch.int64, device=self._like.device),
            "attention": self._like.new_zeros(n_slots, *self._transformer.memory_shape),
            "convolutions": self._like.new_zeros(n_slots, self._width),
        }

    def __call__(self, codes: Tensor, slots: Tensor, state: Mapping[str, Tensor]) -> Tensor:
        """Float32 [B, n * 1920] in -1..1. `state` is written."""
        frames, attention, convolutions = (state[name] for name in ("frames", "attention", "convolutions"))
        n_rows, n = codes.shape[:2]
        positions = frames.index_select(0, slots)
        rows = convolutions.index_select(0, slots)
        past = attention.index_select(0, slots)
        memory = past.new_empty(n_rows, past.shape[1], past.shape[2] + n, *past.shape[3:])
        memory[:, :, : past.shape[2]].copy_(past)

        x = self._pre_conv(self._codebooks(codes).transpose(1, 2), rows)
        x = self._transformer(x.transpose(1, 2), memory, positions)
        pcm = self._vocoder(x, rows)

        frames.index_copy_(0, slots, positions + n)
        attention.index_copy_(0, slots, memory[:, :, n:])
        convolutions.index_copy_(0, slots, rows)
        return pcm.clamp(-1, 1).view(n_rows, n * FRAME_SAMPLES).float()


class Codebooks:
    """From codes [B, n, 16] to vectors [B, n, D]. Upstream: SplitResidualVectorQuantizer."""

    def __init__(self, upstream: Any, consume: bool) -> None:
        self._table = code_tables(upstream, consume)
        n_books = len(upstream.rvq_first.vq.layers) + len(upstream.rvq_rest.vq.layers)
        self._n_entries = len(self._table) // n_books
        self._first_entries = torch.arange(n_books, device=self._table.device) * self._n_entries
        self._n_semantic: int = upstream.n_q_semantic
        self._semantic, self._acoustic = (
            half.output_proj.weight.squeeze(-1) for half in (upstream.rvq_first, upstream.rvq_rest)
        )

    def __call__(self, codes: Tensor) -> Tensor:
        entries = codes.clamp(0, self._n_entries - 1) + self._first_entries
        vectors = functional.embedding(entries, self._table)
        semantic = linear(vectors[:, :, : self._n_semantic].sum(2), self._semantic)
        return linear(vectors[:, :, self._n_semantic :].sum(2), self._acoustic).add_(semantic)
