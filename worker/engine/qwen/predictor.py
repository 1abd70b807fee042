"""The code predictor: from the talker's hidden state and a frame's first code to the other fifteen, one pass each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from worker.engine.qwen.fused import FusedStack, stack_of
from worker.engine.qwen.loader import Kernels
from worker.engine.qwen.matrix import Matrix
from worker.engine.qwen.transformer import attend_fresh, attend_prefix, taken

Choose = Callable[[Tensor, int], Tensor]  # (logits [B, 2048], codebook 1..15) -> embeddings of the codes drawn [B, D]


class Predictor:
    """The predictor with fused layers. It takes the weights out of upstream's module, which cannot run afterwards."""

    def __init__(self, predictor: nn.Module, n_rows: int, kernels: Kernels = "torch") -> None:
        predictor_: Any = predictor
        n_positions = len(predictor_.lm_head) + 1
        self._stack = stack_of(predictor_.model, predictor_.config, kernels, 2 * n_rows, n_positions)
        self.n_codes: int = predictor_.lm_head[0].out_features
        self._heads = tuple(Matrix(taken(head)) for head in predictor_.lm_head)
        self.tables: tuple[Tensor, ...] = tuple(e.weight.detach() for e in predictor_.model.codec_embedding)
        projection = predictor_.small_to_mtp_projection
        self._projection = None if isinstance(projection, nn.Identity) else projection
        self._caches = self._stack.shape.caches(n_rows, n_positions, self._stack.like)
        self._cis = self._stack.rotations(n_positions)
        rows = torch.arange(n_rows, device=self._stack.like.device)
        places = [self._stack.shape.places(rows, torch.full_like(rows, p), n_positions) for p in range(n_positions)]
        first = torch.stack(places[:2]).view(2, n_rows, -1).transpose(0, 1).flatten()  # row by row
        self._places = (first, *places[2:])
        self._first_cis = self._cis[:2].repeat(n_rows, 1, 1)
        # The rows and positions of a pass' tokens: first two for each row, then one.
        two = rows.repeat_interleave(2), torch.arange(2, device=rows.device).repeat(n_rows)
        self._tokens = (two, *((rows, torch.full_like(rows, p)) for p in range(2, n_positions)))

    def frame(self, hidden: Tensor, embedded: Tensor, choose: Choose) -> None:
        """Have `choose` draw the fifteen codes. hidden, embedded (the first code's): [B, D]."""
        x = torch.stack((hidden, embedded), 1).flatten(0, 1)
        for n, head in enumerate(self._heads):
            y = self._pass(n, self._projected(x))
            if n == 0:
                y = y.view(len(hidden), 2, -1)[:, 1]
            x = choose(head.times(y), n + 1)

    def _pass(self, n: int, x: Tensor) -> Tensor:
        """Pass n over its tokens x [N, D]: the hidden states [N, D]."""
        if isinstance(self._stack, FusedStack):
            rows, positions = (kept[: len(x)] for kept in self._tokens[n])
            return self._stack.decode(x, rows, positions, self._caches)
        at = self._places[n][: len(x) * self._stack.shape.n_kv_heads]
        if n == 0:
            cis, attend = self._first_cis[: len(x)], attend_fresh(2)
        else:
            cis, attend = self._cis[n + 1 : n + 2], attend_prefix(len(x), n + 2)
        return self._stack.run(x, cis, at, self._caches, attend)

    def _projected(self, x: Tensor) -> Tensor:
        return x if self._projection is None else self._projection(x)
