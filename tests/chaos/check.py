"""What every session heard, held against the contract, and what a run left behind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import redis

from tests.chaos.hearing import Findings, Session
from tests.chaos.ledger import Ledger
from worker.stream.keys import GROUP, Keys

if TYPE_CHECKING:
    from tests.chaos.undisturbed import Expected

__all__ = ["Findings", "check", "check_left_behind"]

Raw = tuple[bytes, Mapping[bytes, bytes]]


def check(ledger: Ledger, read: Callable[[str], Sequence[Raw]], expected: Expected) -> Findings:
    """Read every session's stream from its first entry to its last.

    Of a session whose relay left, jobs may be missing or out of order; what is there must be right.
    """
    findings = Findings()
    for session_id, jobs in ledger.by_session().items():
        session = Session(session_id, jobs, ledger.cancels.get(session_id, []), findings)
        for stream_id, raw in read(session_id):
            session.hear(stream_id, raw)
        session.judge(expected, has_left=session_id in ledger.left)
        findings.n_sessions += 1
        findings.n_jobs += len(jobs)
    return findings


def check_left_behind(client: redis.Redis | redis.RedisCluster, keys: Keys) -> list[str]:
    """What is still there once every job has ended: unsettled jobs, and keys that would stay for ever."""
    some: Any = client
    jobs, ready, delayed, gates, waiting, attempts, *_ = keys.job_plane
    left = {
        "jobs": some.xlen(jobs),
        "pending": _n_pending(some, jobs),
        "ready": some.llen(ready),
        "delayed": some.zcard(delayed),
        "gates": some.hlen(gates),
        "waiting": some.zcard(waiting),
        "attempts": some.hlen(attempts),
    }
    found = [f"{n} left in {name}" for name, n in left.items() if n]
    kept_for_ever = {key.encode() for key in keys.job_plane}
    eternal = [key for key in some.scan_iter(count=1000) if key not in kept_for_ever and some.ttl(key) == -1]
    return found + [f"{key.decode()} never expires" for key in sorted(eternal)]


def _n_pending(client: Any, jobs: str) -> int:
    try:
        return int(client.xpending(jobs, GROUP)["pending"])
    except redis.ResponseError as error:
        if str(error).startswith("NOGROUP"):
            return 0
        raise
