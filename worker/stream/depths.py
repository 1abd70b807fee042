"""Lengths of the queue's keys, for metrics and `queue status`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

from worker.stream.keys import GROUP, Keys
from worker.stream.transport.base import Link
from worker.stream.transport.retry import PASSING, Refusal, is_no_group


@dataclass(frozen=True, slots=True)
class Depths:
    """Counts of jobs, and the age of the oldest unsettled job in seconds (0 without one).

    None where Redis rejects the command: the key has another type, or this user lacks the right.
    """

    unsettled: int | None
    running: int | None
    ready: int | None
    waiting: int | None
    delayed: int | None
    dead: int | None
    oldest_s: float | None


async def read_depths(link: Link, keys: Keys) -> Depths:
    """Read all lengths. Not atomic: jobs may move between two commands."""
    unsettled, running, n_ready, n_waiting, n_delayed, n_dead, oldest, now = await asyncio.gather(
        _or_none(link.call("XLEN", keys.jobs)),
        _running(link, keys.jobs),
        _or_none(link.call("LLEN", keys.job_plane_key("ready"))),
        _or_none(link.call("ZCARD", keys.job_plane_key("waiting"))),
        _or_none(link.call("ZCARD", keys.job_plane_key("delayed"))),
        _or_none(link.call("XLEN", keys.dead)),
        _or_none(link.call("XRANGE", keys.jobs, "-", "+", "COUNT", 1)),
        _or_none(link.call("TIME")),
    )
    oldest_s = None if oldest is None or now is None else 0.0
    if oldest and now:
        now_ms = int(now[0]) * 1000 + int(now[1]) // 1000
        oldest_s = max(0, now_ms - int(oldest[0][0].partition(b"-")[0])) / 1000
    return Depths(unsettled, running, n_ready, n_waiting, n_delayed, n_dead, oldest_s)


async def _or_none(answer: Awaitable[Any]) -> Any:
    """The answer, or None where Redis rejects this command."""
    try:
        return await answer
    except Refusal as error:
        if isinstance(error, PASSING):
            raise
        return None


async def _running(link: Link, jobs: str) -> int | None:
    try:
        pending = await link.call("XPENDING", jobs, GROUP)
    except Refusal as error:
        if is_no_group(error):  # no worker has run yet
            return 0
        if isinstance(error, PASSING):
            raise
        return None
    return int(pending[0])
