"""Times of GPU work: of kernels inside one graph, and of whole calls with their launch."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch

N_REPLAYS = 20


class Timing:
    """Times on one device. On a CPU both give the median of three calls."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.is_cuda = device.startswith("cuda")

    def us(self, function: Callable[[], object], n_calls: int = 1, n_replays: int = N_REPLAYS) -> float:
        """Microseconds of a call among n_calls captured in one graph: the median of the graph's replays."""
        if not self.is_cuda:
            return round(self.ms(function, 3)["p50"] * 1000, 2)
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            function()
        torch.cuda.synchronize()
        with torch.cuda.graph(graph, stream=stream):
            for _ in range(n_calls):
                function()
        graph.replay()
        times = []
        for _ in range(n_replays):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            graph.replay()
            end.record()
            end.synchronize()
            times.append(begin.elapsed_time(end) * 1000 / n_calls)
        return round(float(median(times)), 3)

    def ms(self, function: Callable[[], object], n_calls: int = 30) -> dict[str, float]:
        """Milliseconds of a call from its launch to the end of its work: median, and the longest."""
        n_calls = n_calls if self.is_cuda else 3
        times = []
        for _ in range(n_calls + 2):
            self.finish()
            began = time.perf_counter()
            function()
            self.finish()
            times.append((time.perf_counter() - began) * 1000)
        return {"p50": round(median(times[2:]), 3), "max": round(max(times[2:]), 3)}

    def finish(self) -> None:
        """Wait for all of the device's work."""
        if self.is_cuda:
            torch.cuda.synchronize(self.device)


def memory(device: str) -> dict[str, Any]:
    """GiB that torch has reserved, and GiB in use on the card; the rest of the difference is mostly graphs."""
    if not device.startswith("cuda"):
        return {}
    free, total = torch.cuda.mem_get_info(device)
    gib = {"reserved_gib": torch.cuda.memory_reserved(device) / 2**30, "used_gib": (total - free) / 2**30}
    return {name: round(value, 3) for name, value in gib.items()}
