"""Packed prefill: the prompts of all segments that begin in a step, in one launch.

A prefill of one prompt is bound by its launches, not by its products, so several take hardly longer than one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.engine.qwen.buckets import Buckets
from worker.engine.qwen.cuda import Key, Replayer, upload
from worker.engine.qwen.launch_times import LaunchTimes
from worker.engine.qwen.talker import Talker

GRAPH_TOKENS = (*range(64, 513, 64), 768, 1024, 1536, 2048)
Prompt = tuple[int, Tensor]  # the arena row, and the embeddings [n, D] that its KV cache is filled from


class PackedPrefill:
    """Launches of few sizes, whose graphs read one buffer of embeddings and one of places. spare: the padding's row."""

    def __init__(self, talker: Talker, n_slots: int, spare: int, graphs: Replayer, times: LaunchTimes) -> None:
        self._talker, self._spare = talker, spare
        self._graphs, self._times = graphs, times
        n_positions, like = talker.n_positions, talker.embedding
        sizes = {n_positions, *(n for n in GRAPH_TOKENS if n <= n_slots * n_positions)}
        self._buckets = Buckets(sorted(sizes))
        self._most = self._buckets.sizes[-1]
        self._embeds = like.new_zeros(self._most, like.shape[1])
        self._places = torch.zeros(3, self._most, dtype=torch.int64, device=like.device)

    def fill(self, prompts: Sequence[Prompt]) -> int:
        """Fill the KV caches of these rows, in as few launches as the largest size allows; returns their positions."""
        lengths = [len(embeds) for _, embeds in prompts]
        for pack in packs(lengths, self._most):
            self._launch([prompts[n] for n in pack])
        return sum(lengths)

    def seconds(self, n_tokens: int) -> float | None:
        """The device's time for so many tokens; None before it is known."""
        n_full, rest = divmod(n_tokens, self._most)
        parts_s = [self._times.seconds(_key(self._buckets.of(n))) for n in [self._most] * n_full + [rest] if n]
        return None if None in parts_s else sum(part_s for part_s in parts_s if part_s)

    def shapes(self) -> Iterator[Key]:
        """The largest first, so that the others fit its memory pool."""
        return map(_key, reversed(self._buckets.sizes))

    def run(self, key: Key) -> None:
        """One launch over what the buffers hold."""
        n = key[1]
        self._talker.prefill_packed(self._embeds[:n], *(places[:n] for places in self._places))

    def _launch(self, prompts: Sequence[Prompt]) -> None:
        lengths = [len(embeds) for _, embeds in prompts]
        n = self._buckets.of(sum(lengths))
        places = places_of([row for row, _ in prompts], lengths, n, self._spare)
        self._places[:, :n].copy_(upload(places, self._places.device))
        for part, (_, embeds) in zip(self._embeds[: sum(lengths)].split(lengths), prompts, strict=True):
            part.copy_(embeds)
        key = _key(n)
        with self._times.measure(key):
            self._graphs.run(key, lambda: self.run(key))


def packs(lengths: Sequence[int], most: int) -> Iterator[list[int]]:
    """The prompts by number, in order, in packs of at most so many tokens. Prompts without tokens are left out."""
    pack: list[int] = []
    n_tokens = 0
    for n, length in enumerate(lengths):
        if pack and n_tokens + length > most:
            yield pack
            pack, n_tokens = [], 0
        if length:
            pack.append(n)
            n_tokens += length
    if pack:
        yield pack


def places_of(rows: Sequence[int], lengths: Sequence[int], n_tokens: int, spare: int) -> NDArray[np.int64]:
    """Row, position and first attended token of every token of a pack, [3, n_tokens]. Padding attends to itself."""
    places = np.zeros((3, n_tokens), dtype=np.int64)
    places[0], places[2] = spare, np.arange(n_tokens)
    first = 0
    for row, length in zip(rows, lengths, strict=True):
        places[:, first : first + length] = np.full(length, row), np.arange(length), np.full(length, first)
        first += length
    return places


def _key(n_tokens: int) -> Key:
    return "prefill", n_tokens
