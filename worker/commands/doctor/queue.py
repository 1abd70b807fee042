"""Checks the queue: one row for each damage that `queue status` lists."""

from __future__ import annotations

import asyncio

from worker.commands.doctor.findings import Finding, ok, warn
from worker.stream.integrity.check import check_job_plane
from worker.stream.keys import Keys
from worker.stream.transport.base import Link

TIMEOUT_S = 10.0
REPAIR = "run makima-tts queue repair to list the repairs, with --yes to do them"
RIGHTS = "run makima-tts queue status as the user `operator` of deploy/redis/users.acl"


async def check_queue(link: Link, prefix: str) -> list[Finding]:
    """One row when the queue is sound, else one for each damage, or one for missing rights."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            found = await check_job_plane(link, Keys(prefix))
    except TimeoutError:
        slow = f"not looked over within {TIMEOUT_S:.0f} s: it is long, or Redis is slow"
        return [warn("queue", slow, "run makima-tts queue status, which takes its time")]
    rows = [warn("queue", damage.sentence, REPAIR) for damage in found.damage]
    if found.unread and not rows:
        more = f", and {len(found.unread) - 1} rights more are missing" if len(found.unread) > 1 else ""
        rows.append(warn("queue", f"not looked over as a whole: {found.unread[0]}{more}", RIGHTS))
    return rows or [ok("queue", "sound: nothing in it that no worker wrote")]
