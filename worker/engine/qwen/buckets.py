"""The few sizes that calls are rounded up to: each has a CUDA graph, or on a CPU memory that is never freed."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

GRAPH_ROWS = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64)


@dataclass(frozen=True, slots=True)
class Buckets:
    """Sizes in ascending order."""

    sizes: Sequence[int]

    @classmethod
    def of_rows(cls, n_rows: int, is_graphed: bool) -> Buckets:
        """For calls of up to n rows: every number on a CPU, where padding costs as much as work."""
        if not is_graphed:
            return cls(range(1, n_rows + 1))
        return cls((*(size for size in GRAPH_ROWS if size < n_rows), n_rows))

    def of(self, n: int) -> int:
        """The smallest size of at least n."""
        return self.sizes[bisect_left(self.sizes, n)]

    def within(self, limit: float) -> int:
        """The largest size up to a limit, at least the smallest."""
        return self.sizes[max(1, bisect_right(self.sizes, limit)) - 1]
