"""A weight matrix in the form that the device multiplies fastest.

On a CPU that is oneDNN's packed form: for a few rows it takes two thirds of the time of torch's own product, on the
machine of docs/benchmarks.md. The other form is not kept.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

PACKED_FOR_ROWS = 8


class Matrix:
    """A linear layer's weight [out, in] without a bias."""

    __slots__ = ("_is_packed", "_weight")

    def __init__(self, weight: Tensor) -> None:
        self._is_packed = weight.device.type == "cpu" and weight.dtype == torch.float32 and _HAS_ONEDNN
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, PACKED_FOR_ROWS) if self._is_packed else weight

    def times(self, x: Tensor) -> Tensor:
        """x [N, in] -> [N, out]."""
        if self._is_packed:
            product: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._weight, None, "none", [], "")
            return product
        return functional.linear(x, self._weight)

    def added(self, x: Tensor, residual: Tensor) -> Tensor:
        """residual [N, out] plus x [N, in] times the weight."""
        if self._is_packed:
            total: Tensor = torch.ops.mkldnn._linear_pointwise.binary(x, residual, self._weight, None, "add")
            return total
        return torch.addmm(residual, x, self._weight.t())


_HAS_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
