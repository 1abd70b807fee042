"""The worker's policy, and three simpler ones to compare it with.

A policy decides which segment has a slot, who begins in a step, and the order of codec calls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf

from worker.engine.base import Engine
from worker.engine.parking import OPENING_S, park
from worker.engine.qwen.admission import BatchPolicy, Newcomer, StepTimes
from worker.engine.qwen.chunks import ChunkBacklog, Group, Schedule
from worker.engine.segment_stream import SegmentStream

Park = Callable[[Engine, Mapping[int, SegmentStream], list[SegmentStream], set[int], float], None]


@dataclass(frozen=True, slots=True)
class LoadPolicy:
    """batch: who begins and who steps. schedule: the order of codec calls. has_lanes: urgent ones overtake the others.

    park: who loses a slot to whom. open_s: seconds between two steps, after which no further segment is opened.
    """

    name: str
    batch: BatchPolicy
    schedule: Schedule
    has_lanes: bool = True
    park: Park = park
    open_s: float = OPENING_S


class EverybodyAtOnce(BatchPolicy):
    """Whoever has a slot begins in the next step, whoever speaks meanwhile."""

    def n_admitted(self, waiting: Sequence[Newcomer], leads: Sequence[float], n_running: int, times: StepTimes) -> int:
        return len(waiting)


@dataclass(frozen=True, slots=True)
class InOrder(Schedule):
    """No first audio and no underrun comes before another's chunk."""

    def plan(self, backlogs: Sequence[ChunkBacklog]) -> list[Group]:
        groups = Schedule.plan(self, [replace(one, lead_s=inf) for one in backlogs])
        return sorted(groups, key=lambda group: group.slots)


def nobody_leaves(
    engine: Engine,
    opened: Mapping[int, SegmentStream],
    waiting: list[SegmentStream],
    paused: set[int],
    free_every_s: float,
) -> None:
    """A segment keeps its slot to its end."""


WORKER = LoadPolicy("worker", BatchPolicy(is_live=True), Schedule())
SIMPLE = (
    LoadPolicy("first come, first served", EverybodyAtOnce(True), InOrder(), False, nobody_leaves, inf),
    LoadPolicy("no pacing", EverybodyAtOnce(True), Schedule(), True, nobody_leaves, inf),
    LoadPolicy("admission only", BatchPolicy(True), InOrder(), False, nobody_leaves),
)
