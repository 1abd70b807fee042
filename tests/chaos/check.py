"""Checks what every session received, and what a run left behind, against the contract."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import redis

from schemas.messages import TERMINAL_TYPES
from tests.chaos.damage import PLANE
from tests.chaos.findings import Findings
from tests.chaos.hearing import Session
from tests.chaos.ledger import PLANTED, Ledger, Published
from tests.chaos.recorder import Heard
from worker.stream.keys import GROUP, Keys

if TYPE_CHECKING:
    from tests.chaos.undisturbed import Expected

__all__ = ["Findings", "check", "check_left_behind"]

Raw = tuple[bytes, Mapping[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Aftermath:
    """What says how a job ended whose stream is spoilt. letters: job id -> why it is dead. recorded: of each session
    the entries that were heard of it.
    """

    letters: Mapping[str, str] = field(default_factory=dict)
    recorded: Mapping[str, Sequence[Heard]] = field(default_factory=dict)

    def end_of(self, job: Published) -> str:
        """In a sentence, "" for one that has none."""
        for _, raw, _ in self.recorded.get(job.session_id, ()):
            kind = raw.get(b"type", b"").decode(errors="replace")
            if raw.get(b"job_id") == job.job_id.encode() and kind in TERMINAL_TYPES and PLANTED not in raw:
                return f"ended as {kind}"
        return f"is a dead letter, {self.letters[job.job_id]}" if job.job_id in self.letters else ""


NOTHING = Aftermath()


def check(
    ledger: Ledger, read: Callable[[str], Sequence[Raw]], expected: Expected, aftermath: Aftermath = NOTHING
) -> Findings:
    """Read every session's stream from its first entry to its last.

    Of a session whose relay left, jobs may be missing or out of order; what is there must be right. A job whose own
    keys were damaged may end in an error, and one whose stream was spoilt with it must have ended somehow: aftermath
    tells.
    """
    findings = Findings()
    for session_id, jobs in ledger.by_session().items():
        session = Session(session_id, jobs, ledger, findings, aftermath.letters)
        for stream_id, raw in read(session_id):
            session.hear(stream_id, raw)
        session.judge(expected, has_left=session_id in ledger.left)
        findings.n_sessions += 1
        findings.n_jobs += len(jobs)
        findings.n_open += sum(job.writing is not None for job in jobs)
    findings.judge_far_ahead(is_damaged=bool(ledger.excepted or ledger.faults["clocks_set"]))
    _judge_spoilt(ledger, findings, aftermath)
    return findings


def _judge_spoilt(ledger: Ledger, findings: Findings, aftermath: Aftermath) -> None:
    """Nothing is held against the contract but that each has an end, or a dead letter."""
    for job in ledger.jobs:
        excepted = ledger.excepted.get(job.job_id)
        if excepted is None or not excepted.is_spoilt:
            continue
        name = f"{job.session_id} {job.job_id}"
        end = aftermath.end_of(job)
        if end or excepted.may_vanish:
            findings.excepted.append(f"{name}: {end or 'was settled without a word'} ({excepted.reason})")
        else:
            findings.lost.append(f"{name}: has neither an end nor a dead letter ({excepted.reason})")


def read_letters(client: Any, keys: Keys) -> dict[str, str]:
    """Job id -> reason, of all dead letters, also of those in keys that were put aside."""
    letters = {}
    for key in client.scan_iter(match=f"{keys.prefix}:{{speak}}:*dead", count=1000):
        if client.type(key) == b"stream":
            for _, fields in client.xrange(key):
                letters[fields.get(b"job_id", b"").decode(errors="replace")] = fields.get(b"dead_reason", b"").decode()
    return letters


Planted = Set[tuple[str, bytes]]


def check_left_behind(
    client: redis.Redis | redis.RedisCluster, keys: Keys, planted: Planted = frozenset()
) -> list[str]:
    """What is still there once every job has ended: unsettled jobs, and keys that would stay for ever.

    planted: (key, member) of what lies there because the driver put it there; `queue repair` takes that away.
    """
    some: Any = client
    left = {"jobs": some.xlen(keys.jobs), "pending": _n_pending(some, keys.jobs)}
    for name, read in _MEMBERS.items():
        key = f"{keys.prefix}:{{speak}}:{name}"
        if some.type(key) == _TYPES[name]:
            left[name] = sum((name, member) not in planted for member in read(some, key))
        elif some.exists(key) and (name, b"") not in planted:
            left[f"another type in place of {name}"] = 1
    found = [f"{n} left in {name}" for name, n in left.items() if n]
    kept_for_ever = {key.encode() for key in keys.job_plane} | {member for name, member in planted if name == "seen"}
    kept_for_ever |= {f"{keys.prefix}:{{speak}}:{name}".encode() for name in PLANE}
    eternal = [key for key in some.scan_iter(count=1000) if key not in kept_for_ever and some.ttl(key) == -1]
    return found + [f"{key.decode()} never expires" for key in sorted(eternal)]


_MEMBERS: Mapping[str, Callable[[Any, str], Sequence[bytes]]] = {
    "ready": lambda client, key: client.lrange(key, 0, -1),
    "delayed": lambda client, key: client.zrange(key, 0, -1),
    "gates": lambda client, key: client.hkeys(key),
    "waiting": lambda client, key: client.zrange(key, 0, -1),
    "attempts": lambda client, key: client.hkeys(key),
}
_TYPES = {name: PLANE[name].encode() for name in _MEMBERS}


def _n_pending(client: Any, jobs: str) -> int:
    try:
        return int(client.xpending(jobs, GROUP)["pending"])
    except redis.ResponseError as error:
        if str(error).startswith("NOGROUP"):
            return 0
        raise
