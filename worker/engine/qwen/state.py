"""The arena: the preallocated tensors that hold the state of every row of the running batch between frames.

A segment keeps its row from its admission to its end: that of its slot. `stepping` names the rows of a step.
"""

from __future__ import annotations

import torch
from torch import Tensor

from worker.engine.base import N_CODEBOOKS
from worker.engine.qwen.active_segment import ActiveSegment
from worker.engine.qwen.sampler import Parameters
from worker.engine.qwen.talker import Talker


class Arena:
    """`n_rows` rows, and a spare one, which the padding of a step names. n_predicted: the predictor's vocabulary.

    inputs [rows, D]: the embedding that the next step reads. text [rows, D]: the text embedding that it adds to its
    frame's. positions, frames, seeds: int64 [rows]; frames count from the segment's first. earliest_end: int64 [rows],
    the first frame that the end token may take the place of. seen: bool
    [rows, vocabulary], codes of codebook 0 drawn so far. stepping: int64 [rows], the n-th row that steps; codes int64
    [rows, 16] and margins float32 [rows, 16]: a step's result, in that order.
    """

    def __init__(self, n_rows: int, talker: Talker, n_predicted: int) -> None:
        embedding = talker.embedding
        device, total = embedding.device, n_rows + 1
        self.n_rows = self.spare = n_rows
        self.n_positions = talker.n_positions
        self.stepping = torch.full((total,), self.spare, dtype=torch.int64, device=device)
        self.inputs = embedding.new_zeros(total, embedding.shape[1])
        self.text = torch.zeros_like(self.inputs)
        self.positions = torch.zeros(total, dtype=torch.int64, device=device)
        self.frames, self.seeds, self.earliest_end = (torch.zeros_like(self.positions) for _ in range(3))
        self.seen = torch.zeros(total, embedding.shape[0], dtype=torch.bool, device=device)
        self.penalty = torch.ones(total, device=device)
        self.codes = torch.zeros(total, N_CODEBOOKS, dtype=torch.int64, device=device)
        self.margins = torch.zeros(total, N_CODEBOOKS, device=device)
        self.talker_draws = Parameters(total, embedding.shape[0], device)
        self.predictor_draws = Parameters(total, n_predicted, device)

    def begin(self, row: int, segment: ActiveSegment, seen: Tensor) -> None:
        """Set a row up for the segment's first step. seen: its resumed codes of codebook 0, int64 [n].

        The talker's KV caches are prefilled separately, with all embeddings but the last.
        """
        self.inputs[row].copy_(segment.prefill.embeds[-1])
        self.text[row].copy_(segment.text)
        self.positions[row : row + 1].fill_(segment.position)
        self.frames[row : row + 1].fill_(segment.n_launched)
        self.seeds[row : row + 1].fill_(segment.seed)
        self.set_earliest_end(row, segment)
        self.seen[row].zero_()
        if len(seen):
            self.seen[row].index_fill_(0, seen, True)
        self.penalty[row : row + 1].fill_(segment.sampling.repetition_penalty or 1.0)
        self.talker_draws.set(row, *segment.sampling.talker())
        self.predictor_draws.set(row, *segment.sampling.predictor())

    def set_earliest_end(self, row: int, segment: ActiveSegment) -> None:
        self.earliest_end[row : row + 1].fill_(segment.prefill.earliest_end)
