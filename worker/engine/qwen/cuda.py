"""CUDA: captured graphs, which run eagerly on a CPU, and copies between host and device that do not block."""

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

# cuDNN's attention, which torch prefers on some GPUs, is left out: it builds a plan on the host for every new shape.
ATTENTION = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


class Replayer:
    """Captured functions by key. A function reads and writes tensors at fixed addresses.

    On a CPU every call runs the function. On a GPU `capture` records it as a CUDA graph at start; a key that was not
    captured (an unusual top_k) runs eagerly, slower and with the same result, and is logged once.

    All graphs of a Replayer share one memory pool, so they must run one after the other on one stream. Two Replayers
    may run at the same time: each has its own pool and, as each captures on its own stream, its own cuBLAS workspace.
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
        """Run a function once, which warms its shapes up; on a GPU then record it."""
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
            # thread_local: calls of other threads, such as a query of free memory, do not invalidate the capture.
            with torch.cuda.graph(graph, self._pool, self._stream, capture_error_mode="thread_local"):
                out = self._run(function)
        self._pool = self._pool or graph.pool()
        self._graphs[key] = (graph, out)

    def run(self, key: Hashable, function: Callable[[], Tensor | None]) -> Tensor | None:
        """The function's result. A graph's result is valid until this Replayer runs again."""
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
    """A copy of a device tensor to the host, under way; complete at once on a CPU."""

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
        return self._host.numpy().copy()  # frees the pinned memory, which is scarce


def attention(device: torch.device) -> AbstractContextManager[None]:
    """A context in which attention uses the same kernels in graphs and outside them. On a CPU it does nothing."""
    return sdpa_kernel(ATTENTION) if device.type == "cuda" else nullcontext()


def upload(array: NDArray[np.generic], device: torch.device) -> Tensor:
    """An array on the device, copied on the current stream without waiting for it."""
    tensor = torch.from_numpy(np.asarray(array, order="C"))
    if device.type != "cuda":
        return tensor
    # A copy from memory that is not pinned may wait for all work queued on the stream.
    return tensor.pin_memory().to(device, non_blocking=True)
