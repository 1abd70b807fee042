"""The streaming codec decoder: codes in, samples out, a few frames at a time and many slots at once.

Upstream decodes a whole utterance at once. Everything in its decoder is causal, so a decoder that keeps each layer's
past gives the same samples in pieces: keys and values of the attention window, the ends of the convolutions' inputs,
and the overlaps of the transposed convolutions. A slot's state is one row of three tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from worker.engine.base import FRAME_SAMPLES
from worker.engine.qwen.codec.layers import CausalConv, Layout, Vocoder, linear
from worker.engine.qwen.codec.transformer import Transformer

REFERENCE_CHUNK_FRAMES = 25


class Codec:
    """A stateful decoder of many slots, on the weights of upstream's Qwen3TTSTokenizerV2Decoder.

    n_slots: rows of state, 0 to n_slots - 1; one more, `scratch`, serves the padding rows of a batch. Any number of a
    batch's rows may use the scratch slot; another slot may appear once in a call.
    consume: free upstream's copy of every weight that is kept in another form; its decoder cannot run afterwards.
    """

    def __init__(self, decoder: nn.Module, n_slots: int, *, consume: bool = False) -> None:
        upstream: Any = decoder
        with torch.no_grad():
            layout = Layout()
            self._codebooks = Codebooks(upstream.quantizer, consume)
            self._pre_conv = CausalConv(upstream.pre_conv, layout, is_early=True)
            self._transformer = Transformer(upstream.pre_transformer, consume)
            self._vocoder = Vocoder(upstream, layout)
        weight: Tensor = upstream.pre_conv.conv.weight
        self._weight, self._n_convolutions = weight, layout.width
        self.scratch = n_slots
        self._state = self._zeros(n_slots + 1)

    def _zeros(self, n_rows: int) -> dict[str, Tensor]:
        """State of n_rows slots at the start of a stream."""
        return {
            "frames": torch.zeros(n_rows, dtype=torch.int64, device=self._weight.device),
            "attention": self._weight.new_zeros(n_rows, *self._transformer.memory_shape),
            "convolutions": self._weight.new_zeros(n_rows, self._n_convolutions),
        }

    @torch.inference_mode()
    def decode(self, codes: Tensor, slots: Tensor, state: Mapping[str, Tensor] | None = None) -> Tensor:
        """Decode n more frames of every named slot.

        codes: int64 [B, n, 16]; values beyond the codebooks are clamped. slots: int64 [B] on the same device. state:
        rows to use instead of the slots' own. Returns float32 [B, n * 1920] in -1..1. Never waits for the device, so it
        can be captured in a CUDA graph.
        """
        frames, attention, convolutions = (state or self._state).values()
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

    @property
    def layout(self) -> str:
        """Names and shapes of the tensors of `state_of`."""
        return " ".join(f"{name}{list(rows.shape[1:])}" for name, rows in self._state.items())

    @torch.inference_mode()
    def reset(self, slot: int, state: Mapping[str, Tensor] | None) -> None:
        """Set a slot to a state from `state_of`, on any device, or with None to the start of a stream."""
        for name, rows in self._state.items():
            row = rows[slot]
            if state is None:
                row.zero_()
            elif state[name].shape != row.shape:
                raise ValueError(f"the codec state's {name!r} is {tuple(state[name].shape)}, not {tuple(row.shape)}: "
                                 "it was made with another codec; make it again from the reference codes")  # fmt: skip
            else:
                row.copy_(state[name], non_blocking=True)

    def state_of(self, codes: Tensor) -> dict[str, Tensor]:
        """The state after these codes, int64 [n, 16], from the start of a stream.

        Touches no slot, so another thread, on another CUDA stream, may call it beside `decode`.
        """
        codes = codes.to(self._weight.device)
        state, row = self._zeros(1), torch.zeros(1, dtype=torch.int64, device=codes.device)
        for chunk in codes.split(REFERENCE_CHUNK_FRAMES):
            if len(chunk):
                self.decode(chunk[None], row, state)
        return {name: rows[0] for name, rows in state.items()}


class Codebooks:
    """From codes [B, n, 16] to vectors [B, n, D]. Upstream: SplitResidualVectorQuantizer."""

    def __init__(self, upstream: Any, consume: bool) -> None:
        books = [layer._codebook for half in (upstream.rvq_first, upstream.rvq_rest) for layer in half.vq.layers]
        tables = [b.embedding_sum / b.cluster_usage.clamp(min=b.epsilon)[:, None] for b in books]
        self._n_entries = len(tables[0])
        self._table = torch.cat(tables)  # [16 * entries, D]
        self._first_entries = torch.arange(len(books), device=self._table.device) * self._n_entries
        self._n_semantic: int = upstream.n_q_semantic
        self._semantic, self._acoustic = (
            half.output_proj.weight.squeeze(-1) for half in (upstream.rvq_first, upstream.rvq_rest)
        )
        if consume:
            for book in books:
                book.embedding_sum = nn.Parameter(self._table.new_empty(0), requires_grad=False)

    def __call__(self, codes: Tensor) -> Tensor:
        entries = codes.clamp(0, self._n_entries - 1) + self._first_entries
        vectors = functional.embedding(entries, self._table)
        semantic = linear(vectors[:, :, : self._n_semantic].sum(2), self._semantic)
        return linear(vectors[:, :, self._n_semantic :].sum(2), self._acoustic).add_(semantic)
