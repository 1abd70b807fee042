"""Parking: a segment that waits for a slot takes the one of the segment that is furthest ahead of its listener.

A parked segment waits like a new one. It is opened again with a Resume of the frames that it has given out, and the
engine's repetition of them is dropped: its reader gets every frame once. Such an exchange costs a prefill and the
repetition. So a segment takes a slot that is in use only where none becomes free in time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

from worker.engine.base import Engine, Finish, Frames
from worker.engine.segment_stream import SegmentStream

MARGIN_S = 1.0  # of lead
PATIENCE_S = 0.5  # for which a listener without audio waits rather than take a slot that is in use
N_ENDS = 16
OPENING_S = 0.01  # between two steps, after which no further segment is opened


@dataclass(slots=True)
class Turnover:
    """How often a slot becomes free, by the moments at which the last segments have ended."""

    _ends: deque[float] = field(default_factory=lambda: deque(maxlen=N_ENDS))

    def count(self, stepped: Iterable[Frames], now: float) -> None:
        """Note the ends in a step's frames. A cancelled segment, which may have been parked, is none."""
        self._ends.extend(now for frames in stepped if frames.ended and frames.finish is not Finish.CANCELLED)

    def interval_s(self, now: float) -> float:
        """Seconds from one free slot to the next; inf where too few have ended to know."""
        if len(self._ends) < N_ENDS:
            return inf
        return max((self._ends[-1] - self._ends[0]) / (N_ENDS - 1), now - self._ends[-1])


def next_to_open(waiting: Iterable[SegmentStream]) -> SegmentStream | None:
    """The waiting segment to open first; None when none needs a slot now."""
    return min((stream for stream in waiting if stream.wants_slot), key=_turn, default=None)


def park(
    engine: Engine,
    opened: Mapping[int, SegmentStream],
    waiting: list[SegmentStream],
    paused: set[int],
    free_every_s: float = inf,
) -> None:
    """Take slots from open segments where waiting ones need them. The next step frees the slots.

    paused: slots whose readers are behind or hold; parked ones are taken out, so that the step reports their end.
    free_every_s: the time from one free slot to the next.
    """
    if not waiting or len(opened) < engine.n_slots:
        return

    def is_dry(stream: SegmentStream) -> bool:
        return stream.segment.is_open and engine.wait_s([slot for slot in opened if slot != stream.slot]) == inf

    for stream in to_park(waiting, list(opened.values()), paused, is_dry, free_every_s):
        assert stream.slot is not None, "an open segment has a slot"
        stream.is_parking, stream.is_dry = True, is_dry(stream)
        paused.discard(stream.slot)
        engine.cancel(stream.slot)


def to_park(
    waiting: Iterable[SegmentStream],
    opened: Sequence[SegmentStream],
    paused: Collection[int],
    is_dry: Callable[[SegmentStream], bool] = lambda stream: False,
    free_every_s: float = inf,
) -> list[SegmentStream]:
    """The open segments to park, where no slot is free. paused: slots whose readers are behind or hold.

    Paused segments with a larger lead than the waiting one come first, then those with a lead larger by the margin,
    then those that wait for text (is_dry). The margin grows with the waiting one's lead: a listener far from silence
    can wait. A segment that steps keeps its slot where the next free slot is in time for the first of the waiting: then
    the rest waits for too much work, to which exchanges would only add.
    """
    n_leaving = sum(stream.is_leaving for stream in opened)
    needy = sorted((stream for stream in waiting if stream.wants_slot and stream.playback), key=_turn)[n_leaving:]
    left = sorted((stream for stream in opened if stream.playback and not stream.is_leaving), key=_standing)
    parked = []
    for stream in needy:
        idle = [one for one in left if one.slot in paused and one.standing_s > stream.standing_s]
        ahead = [one for one in left if one.standing_s > stream.standing_s + max(MARGIN_S, stream.standing_s / 2)]
        if free_every_s < max(PATIENCE_S, stream.standing_s):
            ahead = []
        if not (candidates := idle or ahead or [one for one in left if is_dry(one)]):
            break
        parked.append(candidates[-1])
        left.remove(candidates[-1])
    return parked


def _standing(stream: SegmentStream) -> float:
    return stream.standing_s


def _turn(stream: SegmentStream) -> tuple[bool, float]:
    """Who runs dry within the margin comes first, then who has no audio yet, then the smallest lead."""
    return not stream.is_in_danger, stream.standing_s
