"""CUDA: captured graphs, which run eagerly on a CPU, and copies between host and device that do not block."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

log = logging.getLogger(__name__)

Key = tuple[Any, ...]  # its first item is a str, the kind

URGENT = -1  # the priority of streams that others must not delay
MOST_LATE = 32  # graphs captured after start, each of which keeps memory
# cuDNN's attention, which torch prefers on some GPUs, is left out: it builds a plan on the host for every new shape.
ATTENTION = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


class Replayer:
    """Captured functions by key. A function reads and writes tensors at fixed addresses; a key begins with its kind.

    On a CPU every call runs the function. On a GPU `capture` records it as a CUDA graph at start. A key that was not
    captured then is run eagerly once, which is its real run, and recorded behind it for the next: a recording executes
    nothing. It costs about two eager runs, once, while waiting for an idle moment would leave a busy engine without the
    graph for ever. Where recording fails, or after `MOST_LATE` such graphs, the key stays eager: slower, the same
    result. `n_eager` counts the eager runs of a GPU by kind.

    All graphs of a Replayer share one memory pool, so they must run one after the other on one stream. Two Replayers
    may run at the same time: each has its own pool and, as each captures on its own stream, its own cuBLAS workspace.
    priority: of that stream, which its graphs' kernels keep on any stream; the lower number goes first. is_eager: set
    it to run without graphs.
    """

    def __init__(self, device: torch.device, priority: int = 0) -> None:
        self.is_eager = False
        self.n_eager: Counter[str] = Counter()
        self._device = device
        self._is_cuda = device.type == "cuda"
        self._graphs: dict[Key, tuple[torch.cuda.CUDAGraph, Tensor | None]] = {}
        self._late: set[Key] = set()  # recorded, or tried to, after start
        self._may_record = True
        self._stream = torch.cuda.Stream(device, priority) if self._is_cuda else None
        self._pool: Any = None

    @property
    def n_graphs(self) -> int:
        return len(self._graphs)

    def capture(self, key: Key, function: Callable[[], Tensor | None]) -> None:
        """Run a function once, which warms its shapes up; on a GPU then record it."""
        self._run_aside(function)
        self._record(key, function)

    def run(self, key: Key, function: Callable[[], Tensor | None]) -> Tensor | None:
        """The function's result. A graph's result is valid until this Replayer runs again."""
        if key in self._graphs and not self.is_eager:
            graph, out = self._graphs[key]
            graph.replay()
            return out
        if not self._is_cuda:
            return self._run(function)
        self.n_eager[key[0]] += 1
        # Without graphs nothing was captured at start.
        if not self._graphs or self.is_eager or not self._may_record or key in self._late:
            return self._run(function)
        if len(self._late) >= MOST_LATE:
            self._late.add(key)
            log.warning("%d graphs were captured while speaking, which is the most: %s runs eagerly", MOST_LATE, key)
            return self._run(function)
        return self._run_and_record(key, function)

    def _run_and_record(self, key: Key, function: Callable[[], Tensor | None]) -> Tensor | None:
        began = perf_counter()
        self._late.add(key)
        result = self._run_aside(function)
        if result is not None:
            result.record_stream(torch.cuda.current_stream(self._device))
        current = torch.cuda.current_stream(self._device)
        try:
            self._record(key, function)
        except RuntimeError as error:  # the real run has succeeded: a lost device fails the next launch
            torch.cuda.set_stream(current)  # torch leaves the capture's set where CUDA has invalidated a capture
            self._may_record = False
            log.warning("no graph could be captured for %s; no more are captured while speaking: %s", key, error)
        else:
            log.info("a graph was captured while speaking, in %.0f ms: %s", 1000 * (perf_counter() - began), key)
        return result

    def _run_aside(self, function: Callable[[], Tensor | None]) -> Tensor | None:
        """Run on the capture stream, whose cuBLAS workspace must exist before a capture."""
        if self._stream is None:
            return self._run(function)
        with torch.cuda.device(self._device):
            current = torch.cuda.current_stream()
            self._stream.wait_stream(current)
            with torch.cuda.stream(self._stream):
                result = self._run(function)
            current.wait_stream(self._stream)
            return result

    def _record(self, key: Key, function: Callable[[], Tensor | None]) -> None:
        if self._stream is None:
            return
        graph = torch.cuda.CUDAGraph()
        # thread_local: calls of other threads, such as a query of free memory, do not invalidate the capture.
        with (
            torch.cuda.device(self._device),
            torch.cuda.graph(graph, self._pool, self._stream, capture_error_mode="thread_local"),
        ):
            out = self._run(function)
        self._pool = self._pool or graph.pool()
        self._graphs[key] = (graph, out)

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
