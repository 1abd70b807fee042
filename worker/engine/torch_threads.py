"""How many threads torch computes with on a CPU, for measurements that have to say so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def threads(n: int | None) -> Iterator[int]:
    """Compute with n threads, or with as many as torch takes by itself; yields how many that are."""
    usual = torch.get_num_threads()
    torch.set_num_threads(usual if n is None else n)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(usual)
