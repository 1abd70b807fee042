"""The arena: what every row of the running batch carries from frame to frame, preallocated.

The rows that step are always the first ones. A row that ends is filled from behind, and a row that waits is swapped
behind those that step, so that a step reads a plain prefix of every tensor.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from worker.engine.base import N_CODEBOOKS
from worker.engine.qwen.sampler import Parameters, Sampling
from worker.engine.qwen.talker import Talker


@dataclass(frozen=True, slots=True)
class RowStart:
    """What a row begins with. sampling: resolved. seen: codebook-0 codes already spoken, int64 [n]."""

    first: Tensor  # [D], the last embedding before the first frame; the ones before it are prefilled
    text: Tensor  # [D], added to the first frame's embedding
    position: int
    frame: int
    seed: int
    sampling: Sampling
    seen: Tensor


class Arena:
    """`n_rows` rows and a spare one to swap through; n_predicted: the predictor's vocabulary.

    inputs [rows, D]: what the next step reads. text [rows, D]: what is added to the embedding of the frame made by it.
    positions, frames, seeds: int64 [rows]; frames count from the utterance's first. seen: bool [rows, vocabulary].
    live: int64 [rows], 1 for rows that may advance. codes int64 [rows, 16] and margins float32 [rows, 16]: the result.
    """

    def __init__(self, n_rows: int, talker: Talker, n_predicted: int) -> None:
        embedding = talker.embedding
        device, total = embedding.device, n_rows + 1
        self.n_rows = n_rows
        self._talker = talker
        self.rows = torch.arange(total, device=device)
        self.inputs = embedding.new_zeros(total, embedding.shape[1])
        self.text = torch.zeros_like(self.inputs)
        self.positions = torch.zeros(total, dtype=torch.int64, device=device)
        self.frames, self.seeds, self.live = (torch.zeros_like(self.positions) for _ in range(3))
        self.ones = torch.ones_like(self.positions)
        self.seen = torch.zeros(total, embedding.shape[0], dtype=torch.bool, device=device)
        self.penalty = torch.ones(total, device=device)
        self.codes = torch.zeros(total, N_CODEBOOKS, dtype=torch.int64, device=device)
        self.margins = torch.zeros(total, N_CODEBOOKS, device=device)
        self.talker_draws = Parameters(total, embedding.shape[0], device)
        self.predictor_draws = Parameters(total, n_predicted, device)

    def begin(self, row: int, start: RowStart) -> None:
        """Put a row to the beginning of an utterance; its caches are prefilled by the talker."""
        self.inputs[row].copy_(start.first)
        self.text[row].copy_(start.text)
        self.positions[row : row + 1].fill_(start.position)
        self.frames[row : row + 1].fill_(start.frame)
        self.seeds[row : row + 1].fill_(start.seed)
        self.seen[row].zero_()
        if len(start.seen):
            self.seen[row].index_fill_(0, start.seen, True)
        self.penalty[row : row + 1].fill_(start.sampling.repetition_penalty or 1.0)
        self.talker_draws.set(row, *start.sampling.talker())
        self.predictor_draws.set(row, *start.sampling.predictor())

    def move(self, source: int, target: int, n_positions: int) -> None:
        """Copy a row, of its caches the first positions, onto another."""
        for kept in (self.inputs, self.text, self.positions, self.frames, self.seeds, self.seen, self.penalty):
            kept[target].copy_(kept[source])
        self.talker_draws.move(source, target)
        self.predictor_draws.move(source, target)
        self._talker.move(source, target, n_positions)
