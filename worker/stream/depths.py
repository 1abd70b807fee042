"""How much lies in the queue: one look at the job plane, for metrics and `queue status`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import redis

from worker.stream.keys import GROUP, Keys
from worker.stream.link import Link
from worker.stream.patience import is_no_group


@dataclass(frozen=True, slots=True)
class Depths:
    """Counts of jobs, and the age of the oldest unsettled one in seconds (0 without one)."""

    unsettled: int
    running: int
    ready: int
    waiting: int
    delayed: int
    dead: int
    oldest_s: float


async def read_depths(link: Link, keys: Keys) -> Depths:
    """Not one atomic look; good to within what happens between its commands."""
    jobs, ready, delayed, _, waiting, _, _, dead, *_ = keys.job_plane
    unsettled, n_ready, n_delayed, n_waiting, n_dead, oldest, time, running = await asyncio.gather(
        link.call("XLEN", jobs),
        link.call("LLEN", ready),
        link.call("ZCARD", delayed),
        link.call("ZCARD", waiting),
        link.call("XLEN", dead),
        link.call("XRANGE", jobs, "-", "+", "COUNT", 1),
        link.call("TIME"),
        _running(link, jobs),
    )
    oldest_s = 0.0
    if oldest:
        now_ms = int(time[0]) * 1000 + int(time[1]) // 1000
        oldest_s = max(0, now_ms - int(oldest[0][0].partition(b"-")[0])) / 1000
    return Depths(unsettled, running, n_ready, n_waiting, n_delayed, n_dead, oldest_s)


async def _running(link: Link, jobs: str) -> int:
    try:
        return int((await link.call("XPENDING", jobs, GROUP))[0])
    except redis.ResponseError as error:
        if is_no_group(error):  # no worker was ever here
            return 0
        raise
