"""A weight matrix in the form that the device multiplies fastest. The other forms are not kept.

On a CPU a call of oneDNN costs about 20 µs more than one of torch's own product, and its packed form multiplies several
rows faster where it has wider instructions than MKL uses. So large matrices are packed there, and all in bfloat16. The
others are transposed, and a single row is multiplied as a vector: MKL's strict mode, which the codec needs, makes a
product of one row three times as slow (docs/benchmarks.md).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

PACKED_FOR_ROWS = 8
LARGE = 2**20  # numbers: reading them takes ten times as long as the call


class Matrix:
    """A linear layer's weight [out, in] without a bias."""

    __slots__ = ("_is_transposed", "_weight", "is_packed")

    def __init__(self, weight: Tensor) -> None:
        self.is_packed = weight.is_cpu and _is_faster_packed(weight)
        self._is_transposed = weight.is_cpu and weight.dtype == torch.float32 and not self.is_packed
        if self.is_packed:
            self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, PACKED_FOR_ROWS)
        else:
            self._weight = weight.t().contiguous() if self._is_transposed else weight

    def times(self, x: Tensor) -> Tensor:
        """x [N, in] -> [N, out]."""
        if self.is_packed:
            product: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._weight, None, "none", [], "")
            return product
        if not self._is_transposed:
            return functional.linear(x, self._weight)
        if len(x) == 1:
            return torch.mv(self._weight.t(), x[0]).unsqueeze(0)
        return torch.mm(x, self._weight)

    def added(self, x: Tensor, residual: Tensor) -> Tensor:
        """residual [N, out] plus x [N, in] times the weight."""
        if self.is_packed:
            total: Tensor = torch.ops.mkldnn._linear_pointwise.binary(x, residual, self._weight, None, "add")
            return total
        if not self._is_transposed:
            return torch.addmm(residual, x, self._weight.t())
        if len(x) == 1:
            return torch.addmv(residual[0], self._weight.t(), x[0]).unsqueeze(0)
        return torch.addmm(residual, x, self._weight)


def _is_faster_packed(weight: Tensor) -> bool:
    """Whether this machine's CPU multiplies the weight faster in oneDNN's form."""
    if not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")):
        return False
    if weight.dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    is_wide = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    return weight.dtype == torch.float32 and is_wide and weight.numel() >= LARGE
