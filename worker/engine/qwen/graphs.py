"""Running the same functions eagerly on a CPU and as captured graphs on a GPU, and fetching results without waiting."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

log = logging.getLogger(__name__)


class Replayer:
    """Captured functions by key. A function reads and writes tensors that stay where they are.

    On a CPU every call runs the function. On a GPU `capture` records it at start; a key that was not captured then
    (margins, an unusual top_k) runs eagerly, with the same result but slower, and the log says so once.
    """

    def __init__(self, device: torch.device, is_eager: bool = False) -> None:
        self._is_graphed = device.type == "cuda" and not is_eager
        self._graphs: dict[Hashable, tuple[torch.cuda.CUDAGraph, Tensor | None]] = {}
        self._eager: set[Hashable] = set()
        self._pool: Any = None

    def capture(self, key: Hashable, function: Callable[[], Tensor | None]) -> None:
        """Record a function, running it twice before; on a CPU run it once, which warms its shapes up."""
        if not self._is_graphed:
            function()
            return
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(2):
                function()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            out = function()
        self._pool = self._pool or graph.pool()
        self._graphs[key] = (graph, out)

    def run(self, key: Hashable, function: Callable[[], Tensor | None]) -> Tensor | None:
        """The function's result; from a graph it stays valid until the same key runs again."""
        if key in self._graphs:
            graph, out = self._graphs[key]
            graph.replay()
            return out
        if self._is_graphed and key not in self._eager:
            self._eager.add(key)
            log.info("no graph was captured for %s: it runs eagerly", key)
        return function()


class Fetch:
    """A device tensor on its way to the host. On a CPU it is there at once."""

    def __init__(self, tensor: Tensor) -> None:
        self._done: torch.cuda.Event | None = None
        if tensor.device.type == "cuda":
            self._host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self._host.copy_(tensor, non_blocking=True)
            self._done = torch.cuda.Event()
            self._done.record()
        else:
            self._host = tensor.clone()

    @property
    def is_done(self) -> bool:
        return self._done is None or self._done.query()

    def wait(self) -> NDArray[np.generic]:
        if self._done is not None:
            self._done.synchronize()
        return self._host.numpy()
