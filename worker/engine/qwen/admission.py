"""Admission to the running batch: how many of the waiting segments begin in a step, and which rows take part in it.

A policy reads plain data: leads, times and counts. It has no clock and no tensors, so simulations and tests use the
worker's own (`benchmarks.load`). The lead of a segment is the audio emitted minus the time since the first of it; inf
before its first audio.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from statistics import median
from typing import Protocol

from worker.engine.base import FRAME_S

COMPANY = 2  # segments that are admitted on any machine: one too slow for a pair gains nothing by queueing either
N_TIMES = 16  # steps or prefills, whose median is the measured time of one


class StepTimes(Protocol):
    """What a step costs, in seconds; 0 where it is unknown."""

    def frame_s(self, n_rows: int) -> float:
        """A step of so many rows."""

    def prefill_s(self, n_tokens: int) -> float:
        """The prefill of so many positions, of one segment or several."""


@dataclass(slots=True)
class MeasuredTimes:
    """Step times learned from the last steps and prefills: the median of a step, and of a prefill's position."""

    _steps: deque[float] = field(default_factory=lambda: deque(maxlen=N_TIMES))
    _prefills: deque[float] = field(default_factory=lambda: deque(maxlen=N_TIMES))

    def stepped(self, seconds: float) -> None:
        self._steps.append(seconds)

    def prefilled(self, n_tokens: int, seconds: float) -> None:
        self._prefills.append(seconds / n_tokens)

    def frame_s(self, n_rows: int) -> float:
        return median(self._steps) if self._steps else 0.0

    def prefill_s(self, n_tokens: int) -> float:
        return n_tokens * median(self._prefills) if self._prefills else 0.0


@dataclass(frozen=True, slots=True)
class Newcomer:
    """A segment that waits to be admitted.

    n_tokens: positions of its prefill. is_resumed: it has a listener already. has_ended: it needs no prefill.
    """

    n_tokens: int
    is_resumed: bool = False
    has_ended: bool = False


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """First audio first. is_live: audio is played as it comes, so a segment that could only stutter waits."""

    is_live: bool

    def n_admitted(self, waiting: Sequence[Newcomer], leads: Sequence[float], n_running: int, times: StepTimes) -> int:
        """How many of the waiting segments, from the first on, begin in this step.

        leads: of the admitted segments that wait for no text. n_running: how many of these take part in the step.
        """
        n_tokens = 0
        for n, newcomer in enumerate(waiting):
            if newcomer.has_ended:
                continue
            if self.is_live and not newcomer.is_resumed and self._is_full(n_running, times):
                return n
            step_s, prefill_s = times.frame_s(n_running), times.prefill_s(n_tokens + newcomer.n_tokens)
            if n_tokens and not self._may_join(newcomer, step_s, prefill_s, leads, times):
                return n
            n_tokens += newcomer.n_tokens
        return len(waiting)

    def _is_full(self, n_running: int, times: StepTimes) -> bool:
        return n_running >= COMPANY and times.frame_s(n_running) > FRAME_S

    def _may_join(
        self, newcomer: Newcomer, step_s: float, prefill_s: float, leads: Sequence[float], times: StepTimes
    ) -> bool:
        """Segments admitted together sound sooner if a prefill costs less than a step, and if no playback runs dry."""
        if times.prefill_s(newcomer.n_tokens) > step_s:
            return False
        return not self.is_live or min(leads, default=inf) > step_s + prefill_s
