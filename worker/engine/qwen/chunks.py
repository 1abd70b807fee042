"""Which slots' frames the codec decodes now, in which groups and in which order.

A chunk of one frame sounds soonest and costs the codec two to three times as much a frame as a chunk of twelve. So a
slot's chunks begin short and grow along a ramp, and slots of equal chunks are decoded together. All sizes come from a
small set, because every (rows, frames) shape is warmed, or captured, before it is used. Time comes in as `lead_s`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import inf

from worker.engine.base import CHUNK_RAMP, FRAME_S

LOW_LEAD_S = 0.06  # less than a frame left to play: whatever there is, is decoded now


@dataclass(frozen=True, slots=True)
class ChunkBacklog:
    """What a slot has waiting for the codec.

    n_pending: frames generated and not decoded. n_codec_calls: chunks given so far. has_ended: no frame will follow.
    lead_s: the audio given minus the time since the first of it was; below 0 the listener hears a gap.
    """

    slot: int
    n_pending: int
    n_codec_calls: int
    has_ended: bool = False
    lead_s: float = inf

    @property
    def is_first(self) -> bool:
        return self.n_codec_calls == 0

    @property
    def is_urgent(self) -> bool:
        return self.is_first or self.lead_s < LOW_LEAD_S

    def after(self, n_frames: int) -> ChunkBacklog:
        """This slot once so many of its frames are decoded."""
        lead_s = (0.0 if self.is_first else self.lead_s) + n_frames * FRAME_S
        return replace(self, n_pending=self.n_pending - n_frames, n_codec_calls=self.n_codec_calls + 1, lead_s=lead_s)


@dataclass(frozen=True, slots=True)
class Group:
    """One call of the codec: the next `n_frames` frames of each of these slots."""

    n_frames: int
    slots: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Schedule:
    """When chunks are decoded, and how long they are.

    ramp: frames of a slot's first, second, … chunk; the last one goes on. is_exact: chunks are of the ramp's sizes
    to the frame, but for what is left at a segment's end; otherwise they may differ so that slots can be decoded
    together, the first one excepted. Raises ValueError for a ramp that is none.
    """

    ramp: tuple[int, ...] = CHUNK_RAMP
    is_exact: bool = False

    def __post_init__(self) -> None:
        if not self.ramp or min(self.ramp) < 1:
            raise ValueError(f"a ramp is one or more chunk lengths of at least 1 frame, not {self.ramp}")

    @property
    def sizes(self) -> tuple[int, ...]:
        """All the chunk lengths that `plan` may choose, in ascending order: the shapes to warm."""
        return _sizes(self.ramp)

    def plan(self, backlogs: Sequence[ChunkBacklog], is_busy: bool = False) -> list[Group]:
        """The groups to decode now, in order; empty when all may wait for more frames. backlogs: one a slot.

        First audio first, then whoever is nearest to an underrun. A slot that goes on gets one chunk at most, one that
        has ended all it has left. is_busy: the codec is short of time, so whoever is not urgent waits for the widest
        chunk.
        """
        due = {
            backlog.slot: backlog for backlog in backlogs if backlog.n_pending > 0 and self._is_due(backlog, is_busy)
        }
        if not due:
            return []
        waiting = {
            backlog.slot: self._chunks(backlog, backlog.slot in due)
            for backlog in backlogs
            if backlog.slot in due or not is_busy
        }
        groups = []
        while due:
            first = min(due.values(), key=lambda backlog: (not backlog.is_first, backlog.lead_s, backlog.slot))
            group = self._group_of(waiting[first.slot], waiting)
            groups.append(group)
            for slot in group.slots:
                del waiting[slot]
                backlog = due.pop(slot, None)
                if backlog is not None and backlog.has_ended and backlog.n_pending > group.n_frames:
                    due[slot] = backlog.after(group.n_frames)
                    waiting[slot] = self._chunks(due[slot], True)
        return groups

    def _step(self, backlog: ChunkBacklog) -> int:
        return self.ramp[min(backlog.n_codec_calls, len(self.ramp) - 1)]

    def _is_due(self, backlog: ChunkBacklog, is_busy: bool) -> bool:
        if backlog.has_ended:
            return True
        if self.is_exact or backlog.is_first:
            return backlog.n_pending >= self._step(backlog)
        return backlog.is_urgent or backlog.n_pending >= (max(self.ramp) if is_busy else self._step(backlog))

    def _chunks(self, backlog: ChunkBacklog, is_due: bool) -> tuple[int, int]:
        """The shortest and the longest chunk that are worth it for this slot now; (1, 0) when none is.

        Half of the chunk that it would get alone is worth the company.
        """
        is_bound = self.is_exact or backlog.is_first
        most = min(backlog.n_pending, self._step(backlog)) if is_bound else backlog.n_pending
        n_smaller = bisect_right(self.sizes, most)
        if n_smaller == 0 or (is_bound and not is_due):
            return 1, 0
        longest = self.sizes[n_smaller - 1]
        if is_bound:
            return longest, longest
        return -(-(longest if is_due else self._step(backlog)) // 2), longest

    def _group_of(self, chunks: tuple[int, int], waiting: Mapping[int, tuple[int, int]]) -> Group:
        """The group that decodes the most frames, of all those that a slot of these chunks may be in."""
        slots_of = {
            size: [slot for slot, (shortest, longest) in waiting.items() if shortest <= size <= longest]
            for size in self.sizes
            if chunks[0] <= size <= chunks[1]
        }
        size = max(slots_of, key=lambda size: (size * len(slots_of[size]), size))
        return Group(size, tuple(sorted(slots_of[size])))


@cache
def _sizes(ramp: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted({*ramp, *(size for size in CHUNK_RAMP if size < max(ramp))}))
