"""Running the same functions eagerly on a CPU and as captured graphs on a GPU, and copies that wait for nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

log = logging.getLogger(__name__)

# Without cuDNN's, which torch prefers on some GPUs: it builds a plan on the host for every new number of rows and of
# positions.
ATTENTION = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


class Replayer:
    """Captured functions by key. A function reads and writes tensors that stay where they are.

    On a CPU every call runs the function. On a GPU `capture` records it at start; a key that was not captured then
    (an unusual top_k) runs eagerly, with the same result but slower, and the log says so once.

    All graphs of a Replayer share their memory, so they must run one after the other, on one stream. Two Replayers
    may run at the same time: their memory is apart, and so, as each captures on a stream of its own, is cuBLAS's.
    """

    def __init__(self, device: torch.device, is_eager: bool = False) -> None:
        self._device = device
        self._is_cuda = device.type == "cuda"
        self._is_graphed = self._is_cuda and not is_eager
        self._graphs: dict[Hashable, tuple[torch.cuda.CUDAGraph, Tensor | None]] = {}
        self._eager: set[Hashable] = set()
        self._stream = torch.cuda.Stream(device) if self._is_graphed else None
        self._pool: Any = None

    def capture(self, key: Hashable, function: Callable[[], Tensor | None]) -> None:
        """Run a function once, which on a CPU warms its shapes up; on a GPU then record it."""
        if self._stream is None:
            self._run(function)
            return
        with torch.cuda.device(self._device):
            current = torch.cuda.current_stream()
            self._stream.wait_stream(current)
            with torch.cuda.stream(self._stream):
                self._run(function)
            current.wait_stream(self._stream)
            graph = torch.cuda.CUDAGraph()
            # thread_local: what other threads do meanwhile, such as asking for the free memory, is no error.
            with torch.cuda.graph(graph, self._pool, self._stream, capture_error_mode="thread_local"):
                out = self._run(function)
        self._pool = self._pool or graph.pool()
        self._graphs[key] = (graph, out)

    def run(self, key: Hashable, function: Callable[[], Tensor | None]) -> Tensor | None:
        """The function's result; from a graph it stays valid until anything else of this Replayer runs."""
        if key in self._graphs:
            graph, out = self._graphs[key]
            graph.replay()
            return out
        if self._graphs and key not in self._eager:
            self._eager.add(key)
            log.info("no graph was captured for %s: it runs eagerly", key)
        return self._run(function)

    def _run(self, function: Callable[[], Tensor | None]) -> Tensor | None:
        with attention(self._device):
            return function()


class HostCopy:
    """A device tensor on its way to the host. On a CPU it is there at once."""

    def __init__(self, tensor: Tensor) -> None:
        self._done: torch.cuda.Event | None = None
        if tensor.device.type == "cuda":
            self._host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self._host.copy_(tensor, non_blocking=True)
            self._done = torch.cuda.Event()
            self._done.record(torch.cuda.current_stream(tensor.device))
        else:
            self._host = tensor.clone()

    @property
    def is_done(self) -> bool:
        return self._done is None or self._done.query()

    def wait(self) -> NDArray[np.generic]:
        if self._done is None:
            return self._host.numpy()
        self._done.synchronize()
        return self._host.numpy().copy()  # pinned memory is scarce: it is given back at once


def attention(device: torch.device) -> AbstractContextManager[None]:
    """Where attention is computed by the same kernels in graphs and beside them; on a CPU nothing changes."""
    return sdpa_kernel(ATTENTION) if device.type == "cuda" else nullcontext()


def upload(array: NDArray[np.generic], device: torch.device) -> Tensor:
    """An array on the device, in the order of the current stream and without waiting for it."""
    tensor = torch.from_numpy(np.asarray(array, order="C"))
    if device.type != "cuda":
        return tensor
    # From memory that is not pinned, a copy may wait for all that the stream has still to do.
    return tensor.pin_memory().to(device, non_blocking=True)
