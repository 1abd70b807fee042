"""The talker: from a frame's embedding to the hidden state and the logits of its first code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from worker.engine.qwen.fused import AttendFused, FusedStack, stack_of
from worker.engine.qwen.loader import Kernels
from worker.engine.qwen.matrix import Matrix
from worker.engine.qwen.transformer import (
    Attend,
    Cache,
    attend_after,
    attend_each,
    attend_fresh,
    attend_gathered,
    attend_packed,
    taken,
)


class Talker:
    """The talker with fused layers and a KV cache for each row of the batch.

    It takes the weights out of upstream's module, which cannot run afterwards.
    """

    def __init__(
        self,
        talker: nn.Module,
        n_rows: int,
        n_positions: int,
        attention: Literal["flash", "sdpa"],
        kernels: Kernels = "torch",
    ) -> None:
        talker_: Any = talker
        self._stack = stack_of(talker_.model, talker_.config, kernels, n_rows, n_positions)
        self._head = Matrix(taken(talker_.codec_head))
        self.embedding: Tensor = talker_.model.codec_embedding.weight.detach()  # [vocabulary, D]
        self.n_positions = n_positions
        self.caches = self._stack.shape.caches(n_rows, n_positions, self._stack.like)
        self._cis = self._stack.rotations(n_positions)
        self._is_flash = attention == "flash"
        self._far = torch.arange(n_positions, device=self.embedding.device)

    def prefill(self, embeds: Tensor, row: int, first: int = 0) -> None:
        """Fill the next T positions of a row's KV cache from embeds [T, D]. first: how many are filled before."""
        positions = self._far[first : first + len(embeds)]
        rows = torch.full_like(positions, row)
        if not first and isinstance(self._stack, FusedStack):
            self.prefill_packed(embeds, rows, positions, torch.zeros_like(positions))
            return
        attend = attend_fresh(len(embeds))
        if first:
            attend = attend_after(row, positions, self._stack.shape.n_groups, embeds)
        if isinstance(self._stack, FusedStack):
            self._stack.fill_places(embeds, rows, positions, self.caches, self._fused(attend))
            return
        at = self._stack.shape.places(rows, positions, self.n_positions)
        self._stack.fill(embeds, self._cis[first : first + len(embeds)], at, self.caches, attend)

    def prefill_packed(self, embeds: Tensor, rows: Tensor, positions: Tensor, starts: Tensor) -> None:
        """Fill the KV caches of several rows from embeds [T, D].

        Token t, of row rows[t] at positions[t], attends to the tokens starts[t] to t. All int64 [T]. Padding has
        starts[t] = t and the spare row.
        """
        if isinstance(self._stack, FusedStack):
            self._stack.fill_packed(embeds, rows, positions, starts, self.caches)
            return
        at = self._stack.shape.places(rows, positions, self.n_positions)
        cis = self._cis.index_select(0, positions)
        self._stack.fill(embeds, cis, at, self.caches, attend_packed(starts))

    def step(self, x: Tensor, rows: Tensor, positions: Tensor, lengths: Sequence[int] | None = None) -> Tensor:
        """One token x [B, D] of each of the rows [B] at its position [B] -> hidden [B, D].

        lengths: the positions plus one, where the host may branch on them; without it eager torch attends to whole
        caches.
        """
        if isinstance(self._stack, FusedStack):
            attend = self._fused(_attend_flash(rows, positions)) if self._is_flash else None
            return self._stack.decode(x, rows, positions, self.caches, attend)
        at = self._stack.shape.places(rows, positions, self.n_positions)
        cis = self._cis.index_select(0, positions)
        return self._stack.run(x, cis, at, self.caches, self._attend(rows, positions, lengths))

    @property
    def is_packed(self) -> bool:
        """Whether oneDNN multiplies by a layer's matrices."""
        return self._stack.is_packed

    def logits(self, hidden: Tensor) -> Tensor:
        """[B, vocabulary] from hidden [B, D]."""
        return self._head.times(hidden)

    def _attend(self, rows: Tensor, positions: Tensor, lengths: Sequence[int] | None) -> Attend:
        if self._is_flash:
            return _attend_flash(rows, positions)
        if lengths is not None:
            return attend_each(list(zip(rows.tolist(), lengths, strict=True)))
        unwritten = self._far > positions[:, None]
        mask = torch.zeros_like(unwritten, dtype=self.embedding.dtype).masked_fill_(unwritten, -torch.inf)
        return attend_gathered(rows, mask[:, None, None])

    def _fused(self, attend: Attend) -> AttendFused:
        """An attention that reads keys and values from the cache alone, as the fused layers call it."""
        shape = self._stack.shape

        def attend_fused(qkv: Tensor, cache: Cache) -> Tensor:
            heads = qkv.view(len(qkv), -1, shape.head_dim)
            return attend(cache, heads[:, : shape.n_heads], heads, heads)

        return attend_fused


def _attend_flash(rows: Tensor, positions: Tensor) -> Attend:
    from flash_attn import flash_attn_with_kvcache

    lengths, indices = (positions + 1).to(torch.int32), rows.to(torch.int32)

    def attend(cache: Cache, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        k, v = (kept.transpose(1, 2) for kept in (cache.keys, cache.values))
        attended: Tensor = flash_attn_with_kvcache(
            queries.unsqueeze(1), k, v, cache_seqlens=lengths, cache_batch_idx=indices
        )
        return attended.reshape(len(queries), -1)

    return attend
