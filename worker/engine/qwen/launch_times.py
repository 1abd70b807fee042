"""How long the device takes for launches of one kind, by CUDA events: the host's clock sees only the launching."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Protocol

import torch

from worker.engine.qwen.admission import N_TIMES, StepTimes


class LaunchTimes:
    """The median of a key's last times. On a CPU, where a call's time is the host's, it measures nothing."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._is_cuda = device.type == "cuda"
        self._under_way: deque[tuple[Hashable, torch.cuda.Event, torch.cuda.Event]] = deque()
        self._times_s: defaultdict[Hashable, deque[float]] = defaultdict(lambda: deque(maxlen=N_TIMES))

    @contextmanager
    def measure(self, key: Hashable) -> Iterator[None]:
        """Measure what is launched inside, on the current stream."""
        if not self._is_cuda:
            yield
            return
        self._collect()
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        began.record(torch.cuda.current_stream(self._device))
        yield
        ended.record(torch.cuda.current_stream(self._device))
        self._under_way.append((key, began, ended))

    def seconds(self, key: Hashable) -> float | None:
        """None before the first launch of this key has ended."""
        self._collect()
        times_s = self._times_s.get(key)
        return median(times_s) if times_s else None

    def _collect(self) -> None:
        while self._under_way and self._under_way[0][2].query():
            key, began, ended = self._under_way.popleft()
            self._times_s[key].append(began.elapsed_time(ended) / 1000)


class TimedRunner(Protocol):
    """Knows the device's times, or returns None."""

    def frame_s(self, n_rows: int) -> float | None: ...
    def prefill_s(self, n_tokens: int) -> float | None: ...


@dataclass(frozen=True, slots=True)
class RunnerTimes:
    """The device's times, and where it has none those of the host's clock."""

    runner: TimedRunner
    host: StepTimes

    def frame_s(self, n_rows: int) -> float:
        known_s = self.runner.frame_s(n_rows)
        return self.host.frame_s(n_rows) if known_s is None else known_s

    def prefill_s(self, n_tokens: int) -> float:
        known_s = self.runner.prefill_s(n_tokens)
        return self.host.prefill_s(n_tokens) if known_s is None else known_s
