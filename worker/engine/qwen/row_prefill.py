"""Prefill on a CPU: a row at a time, without what the row's KV cache holds already.

A prefill there takes as long as its products. Every text in one voice and language begins with the same embeddings, the
words of the reference, so a row that spoke in that voice before holds a part of the next prompt.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor
from torch.nn import functional

from worker.engine.qwen.cuda import Key
from worker.engine.qwen.packed_prefill import Prompt
from worker.engine.qwen.talker import Talker

PACKED_STEP = 32  # tokens: oneDNN keeps code and memory for every new number of rows, for ever
STEP = 8
N_REMEMBERED = 256  # embeddings of a row's last prompt: a voice's part is shorter


class RowPrefill:
    """The prefills of a talker on a CPU, rounded up to a multiple of `step` tokens."""

    def __init__(self, talker: Talker) -> None:
        self._talker = talker
        self.step = PACKED_STEP if talker.is_packed else STEP
        self._held: dict[int, Tensor] = {}  # by row: the embeddings that its first positions were filled from

    def fill(self, prompts: Sequence[Prompt]) -> int:
        """Fill the KV caches of these rows, which must all be free; returns how many positions were computed."""
        n_computed = 0
        for row, embeds in prompts:
            held = self._held.pop(row, embeds[:0])
            first = n_common(held, embeds)
            if n := len(embeds) - first:
                padded = min(-(-n // self.step) * self.step, self._talker.n_positions - first)
                self._talker.prefill(functional.pad(embeds[first:], (0, 0, 0, padded - n)), row, first)
            self._held[row] = embeds[:N_REMEMBERED].clone()
            n_computed += n
        return n_computed

    def seconds(self, n_tokens: int) -> None:
        """A CPU's times are the host's, which measures them."""

    def shapes(self) -> Iterator[Key]:
        """The usual numbers of tokens."""
        most = min(self._talker.n_positions, 8 * self.step)
        return (("prefill", n) for n in range(self.step, most + 1, self.step))

    def run(self, key: Key) -> None:
        """One prefill of this shape in row 0, which must be free."""
        self._held.pop(0, None)
        like = self._talker.embedding
        self._talker.prefill(like.new_zeros(key[1], like.shape[1]), 0)


def n_common(some: Tensor, others: Tensor) -> int:
    """How many first rows are equal. some, others: [n, D]."""
    n = min(len(some), len(others))
    return int((some[:n] == others[:n]).all(1).long().cumprod(0).sum())
