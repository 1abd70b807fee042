"""Weights of upstream's decoder in the forms that ours need."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def codebooks(quantizer: Any) -> list[Any]:
    """Upstream's EuclideanCodebooks, the semantic one first."""
    return [layer._codebook for half in (quantizer.rvq_first, quantizer.rvq_rest) for layer in half.vq.layers]


def code_vectors(book: Any) -> Tensor:
    """[entries, D]."""
    vectors: Tensor = book.embedding_sum / book.cluster_usage.clamp(min=book.epsilon)[:, None]
    return vectors


def code_tables(quantizer: Any, consume: bool) -> Tensor:
    """The vectors of all codebooks, [16 * entries, D]. consume: frees upstream's sums."""
    books = codebooks(quantizer)
    table = torch.cat([code_vectors(book) for book in books])
    if consume:
        for book in books:
            book.embedding_sum = nn.Parameter(table.new_empty(0), requires_grad=False)
    return table


def taken(module: Any, consume: bool) -> Tensor:
    """A module's weight. consume: the module keeps an empty one, because the caller makes another form of it."""
    weight: Tensor = module.weight
    if consume:
        module.weight = nn.Parameter(weight.new_empty(0), requires_grad=False)
    return weight


def vector(numbers: Tensor) -> Tensor:
    """Numbers in the dtype that kernels compute in: float64 for float64, else float32."""
    return numbers.to(torch.float64 if numbers.dtype == torch.float64 else torch.float32)
