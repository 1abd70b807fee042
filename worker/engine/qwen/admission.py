"""Admission to the running batch: how many of the waiting segments begin in a step, and which rows take part in it.

A policy reads plain data: leads, times and counts. It has no clock and no tensors, so simulations and tests use the
worker's own (`benchmarks.load`). The lead of a segment is the audio emitted minus the time since the first of it; inf
before its first audio.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from statistics import median
from typing import Protocol

from worker.engine.base import FRAME_S

COMPANY = 2  # segments that are admitted on any machine: one too slow for a pair gains nothing by queueing either
N_TIMES = 16  # steps or prefills, whose median is the measured time of one
STEPS_TO_SOUND = 2  # until a listener has the next frame: the step that makes it, and the one that gives it out
PREFILL_S = FRAME_S / 4  # the most prefill in a step, or a step's time if that is longer; one segment always may begin
PATIENCE_S = 0.25  # for which a segment waits until nobody runs dry by its prefill
FAR_S = 1.0  # the lead from which a row may sit steps out


class StepTimes(Protocol):
    """What a step costs, in seconds; 0 where it is unknown."""

    def frame_s(self, n_rows: int) -> float:
        """A step of so many rows."""

    def prefill_s(self, n_tokens: int) -> float:
        """The prefill of so many positions, of one segment or several."""


@dataclass(slots=True)
class MeasuredTimes:
    """Medians of the last times that the host measured: of a step by its rows, and of a prefill's position."""

    _steps: dict[int, deque[float]] = field(default_factory=dict)
    _prefills: deque[float] = field(default_factory=lambda: deque(maxlen=N_TIMES))

    def stepped(self, n_rows: int, seconds: float) -> None:
        self._steps.setdefault(n_rows, deque(maxlen=N_TIMES)).append(seconds)

    def prefilled(self, n_tokens: int, seconds: float) -> None:
        self._prefills.append(seconds / n_tokens)

    def frame_s(self, n_rows: int) -> float:
        """Of a number of rows that has not stepped, the time of the next larger one; above the largest its own."""
        if not self._steps:
            return 0.0
        measured = sorted(self._steps)
        return median(self._steps[measured[min(bisect_left(measured, n_rows), len(measured) - 1)]])

    def prefill_s(self, n_tokens: int) -> float:
        return n_tokens * median(self._prefills) if self._prefills else 0.0


@dataclass(frozen=True, slots=True)
class Newcomer:
    """A segment that waits to be admitted.

    n_tokens: positions of its prefill. waited_s: since it was opened. is_resumed: it has a listener already. has_ended:
    it needs no prefill.
    """

    n_tokens: int
    waited_s: float = inf
    is_resumed: bool = False
    has_ended: bool = False


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """First audio first, as far as no listener who has audio runs dry by it.

    is_live: audio is played as it comes, so a segment that could only stutter waits.
    """

    is_live: bool

    def n_admitted(self, waiting: Sequence[Newcomer], leads: Sequence[float], n_running: int, times: StepTimes) -> int:
        """How many of the waiting segments, from the first on, begin in this step.

        leads: of the admitted segments that wait for no text. n_running: how many of these take part in the step.
        """
        n_tokens, step_s = 0, times.frame_s(n_running)
        for n, newcomer in enumerate(waiting):
            if newcomer.has_ended:
                continue
            n_tokens += newcomer.n_tokens
            is_first = n_tokens == newcomer.n_tokens
            may = self._may_begin if is_first else self._may_join
            if self.is_live and not newcomer.is_resumed and n_running >= COMPANY and step_s > FRAME_S:
                return n
            if not may(newcomer, leads, step_s, n_tokens, times):
                return n
        return len(waiting)

    def _may_begin(
        self, newcomer: Newcomer, leads: Sequence[float], step_s: float, n_tokens: int, times: StepTimes
    ) -> bool:
        """Whether nobody runs dry by the first prefill of a step, or it has been put off for long enough."""
        if not self.is_live or newcomer.is_resumed or newcomer.waited_s >= PATIENCE_S:
            return True
        until_sound_s = STEPS_TO_SOUND * step_s + times.prefill_s(n_tokens)
        return not any(0 < lead <= until_sound_s for lead in leads)

    def _may_join(
        self, newcomer: Newcomer, leads: Sequence[float], step_s: float, n_tokens: int, times: StepTimes
    ) -> bool:
        """Segments admitted together sound sooner if a prefill costs less than a step, and if no playback runs dry."""
        if times.prefill_s(newcomer.n_tokens) > step_s:
            return False
        prefill_s = times.prefill_s(n_tokens)
        if not self.is_live:
            return True
        return prefill_s <= max(PREFILL_S, step_s) and min(leads, default=inf) > STEPS_TO_SOUND * step_s + prefill_s

    def stepping(self, leads: Sequence[float], times: StepTimes) -> list[int]:
        """The rows that take part in the next step, of those that can, in their order.

        While a step of all takes longer than a frame plays, the rows furthest ahead sit out, as many as it takes.
        """
        by_need = sorted(range(len(leads)), key=lambda row: (leads[row] < inf, leads[row]))
        n = len(leads)
        if self.is_live:
            while n > 1 and FAR_S < leads[by_need[n - 1]] < inf and times.frame_s(n) > FRAME_S:
                n -= 1
        return sorted(by_need[:n])
