"""The schedule of codec calls: which slots' frames are decoded now, in which groups and in which order.

A chunk is the frames of one slot in one codec call. A slot's chunks grow along `CHUNK_RAMP`, and slots with chunks of
one size are decoded together. Sizes come from a small set, because every shape (rows, frames) is warmed up, or captured
as a CUDA graph, before it is used. The schedule reads no clock: time enters as `lead_s`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import inf

from worker.engine.base import CHUNK_RAMP, FRAME_S

LOW_LEAD_S = 0.06  # less than a frame left to play: decode whatever is pending


@dataclass(frozen=True, slots=True)
class ChunkBacklog:
    """The frames of one slot that wait for the codec.

    n_pending: frames generated and not decoded. n_codec_calls: chunks decoded so far. has_ended: no frame will follow,
    or none before more text comes.
    lead_s: the audio emitted minus the time since the first of it; below 0 playback has a gap (underrun).
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
        """The backlog after one more chunk of n frames."""
        lead_s = (0.0 if self.is_first else self.lead_s) + n_frames * FRAME_S
        return replace(self, n_pending=self.n_pending - n_frames, n_codec_calls=self.n_codec_calls + 1, lead_s=lead_s)


@dataclass(frozen=True, slots=True)
class Group:
    """One codec call: the next `n_frames` frames of each of these slots."""

    n_frames: int
    slots: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Schedule:
    """When chunks are decoded, and how long they are.

    ramp: frames of a slot's first, second, … chunk; the last size repeats. is_exact: chunks have exactly the ramp's
    sizes, except at a segment's end. Otherwise every chunk but the first may be shorter or longer, so that slots can
    be decoded together. Raises ValueError for an empty ramp or a size below 1.
    """

    ramp: tuple[int, ...] = CHUNK_RAMP
    is_exact: bool = False

    def __post_init__(self) -> None:
        if not self.ramp or min(self.ramp) < 1:
            raise ValueError(f"chunk_frames is one or more sizes of at least 1 frame, not {self.ramp}")

    @property
    def sizes(self) -> tuple[int, ...]:
        """All chunk sizes that `plan` may choose, in ascending order."""
        return _sizes(self.ramp)

    def plan(self, backlogs: Sequence[ChunkBacklog]) -> list[Group]:
        """The groups to decode now, in order; empty when every slot can wait for more frames. backlogs: one a slot.

        First audio first, then the slots nearest to an underrun. A slot gets one chunk, or all its frames if it has
        ended.
        """
        due = {backlog.slot: backlog for backlog in backlogs if backlog.n_pending > 0 and self._is_due(backlog)}
        if not due:
            return []
        waiting = {backlog.slot: self._chunks(backlog, backlog.slot in due) for backlog in backlogs}
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

    def _is_due(self, backlog: ChunkBacklog) -> bool:
        is_early = backlog.is_urgent and not (self.is_exact or backlog.is_first)
        return backlog.has_ended or is_early or backlog.n_pending >= self._step(backlog)

    def _chunks(self, backlog: ChunkBacklog, is_due: bool) -> tuple[int, int]:
        """The range of chunk sizes that suit this slot now, empty as (1, 0).

        Decoding together saves more than half-full chunks cost: half of the size that the slot would get alone suits.
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
        """The group that decodes the most frames, of those with a size in this range of `chunks`."""
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
