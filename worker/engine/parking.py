"""Parking: a segment that waits for a slot takes the one of the segment that is furthest ahead of its listener.

A parked segment waits like a new one. It is opened again with a Resume of the frames that it has given out, and the
engine's repetition of them is dropped: its reader gets every frame once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from math import inf

from worker.engine.base import Engine
from worker.engine.segment_stream import SegmentStream

MARGIN_S = 1.0  # of lead


def next_to_open(waiting: Iterable[SegmentStream]) -> SegmentStream | None:
    """The waiting segment with the smallest lead; of equals the first. None when none needs a slot now."""
    return min((stream for stream in waiting if stream.wants_slot), key=_standing, default=None)


def park(engine: Engine, opened: Mapping[int, SegmentStream], waiting: list[SegmentStream], paused: set[int]) -> None:
    """Take slots from open segments where waiting ones need them. The next step frees the slots.

    paused: slots whose readers are behind or hold; parked ones are taken out, so that the step reports their end.
    """
    if not waiting or len(opened) < engine.n_slots:
        return

    def is_dry(stream: SegmentStream) -> bool:
        return stream.segment.is_open and engine.wait_s([slot for slot in opened if slot != stream.slot]) == inf

    for stream in to_park(waiting, list(opened.values()), paused, is_dry):
        assert stream.slot is not None, "an open segment has a slot"
        stream.is_parking, stream.is_dry = True, is_dry(stream)
        paused.discard(stream.slot)
        engine.cancel(stream.slot)


def to_park(
    waiting: Iterable[SegmentStream],
    opened: Sequence[SegmentStream],
    paused: Collection[int],
    is_dry: Callable[[SegmentStream], bool] = lambda stream: False,
) -> list[SegmentStream]:
    """The open segments to park, where no slot is free. paused: slots whose readers are behind or hold.

    Paused segments with a larger lead than the waiting one come first, then those with a lead larger by the margin,
    then those that wait for text (is_dry). The margin grows with the waiting one's lead: an exchange costs a prefill,
    and a listener far from silence can wait.
    """
    n_leaving = sum(stream.is_leaving for stream in opened)
    needy = sorted((stream for stream in waiting if stream.wants_slot and stream.playback), key=_standing)[n_leaving:]
    left = sorted((stream for stream in opened if stream.playback and not stream.is_leaving), key=_standing)
    parked = []
    for stream in needy:
        idle = [one for one in left if one.slot in paused and one.standing_s > stream.standing_s]
        ahead = [one for one in left if one.standing_s > stream.standing_s + max(MARGIN_S, stream.standing_s / 2)]
        if not (candidates := idle or ahead or [one for one in left if is_dry(one)]):
            break
        parked.append(candidates[-1])
        left.remove(candidates[-1])
    return parked


def _standing(stream: SegmentStream) -> float:
    return stream.standing_s
