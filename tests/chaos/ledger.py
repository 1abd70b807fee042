"""The record of a run: published jobs, cancels, and every fault that was caused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tests.chaos.writing import Writing

PLANTED = b"odd"  # a field of every entry that the driver itself writes into a session's stream


@dataclass(frozen=True, slots=True)
class Published:
    """One job, acknowledged by Redis. fields: as published, job_id among them: a publish repeated after a lost reply
    is the same job. entry_id: of the last acknowledged XADD. at_s: monotonic seconds of the acknowledgement. n_sent:
    how often it was published at most, lost replies included. writing: of an open text.
    """

    session_id: str
    job_id: str
    entry_id: str
    fields: Mapping[str, str]
    at_s: float
    n_sent: int = 1
    writing: Writing | None = None

    @property
    def is_unfinished(self) -> bool:
        """An open text without an end."""
        return self.writing is not None and not self.writing.has_ended


@dataclass(frozen=True, slots=True)
class Excepted:
    """What a job may do whose own keys were damaged: end in an error.

    reason: the damage. is_spoilt: nothing that its session heard of it is judged. may_vanish: it may be settled without
    a word, for the driver took away where the word would stand.
    """

    reason: str
    is_spoilt: bool = False
    may_vanish: bool = False

    def with_more(self, other: Excepted) -> Excepted:
        """What a job may do to which both happened."""
        reason = self.reason if other.reason in self.reason else f"{self.reason} and {other.reason}"
        return Excepted(reason, self.is_spoilt or other.is_spoilt, self.may_vanish or other.may_vanish)


@dataclass(slots=True)
class Ledger:
    """jobs: in the order published, which per session is the order to be heard.

    cancels: session -> entry ids up to which it was cancelled (acknowledged or not). left: sessions whose relay left;
    their streams expire. faults: how often each kind of fault was caused. excepted: by job id. replaced: sessions whose
    stream the driver replaced and deleted. unordered: sessions of which it deleted what says who waits. planted: (key,
    member) of what it wrote into the job plane; a whole key has no member.
    """

    jobs: list[Published] = field(default_factory=list)
    cancels: dict[str, list[str]] = field(default_factory=dict)
    left: set[str] = field(default_factory=set)
    faults: Counter[str] = field(default_factory=Counter)
    excepted: dict[str, Excepted] = field(default_factory=dict)
    replaced: set[str] = field(default_factory=set)
    unordered: set[str] = field(default_factory=set)
    planted: set[tuple[str, bytes]] = field(default_factory=set)

    def let_fail(self, job_id: str, excepted: Excepted) -> None:
        """Except this job from ending well, and no other."""
        before = self.excepted.get(job_id)
        self.excepted[job_id] = excepted if before is None else before.with_more(excepted)

    def send_again(self, job: Published, n_times: int) -> None:
        """Note that this job was published so many times more."""
        at = next(n for n, one in enumerate(self.jobs) if one.job_id == job.job_id)
        self.jobs[at] = replace(self.jobs[at], n_sent=self.jobs[at].n_sent + n_times)

    def by_session(self) -> dict[str, list[Published]]:
        sessions: dict[str, list[Published]] = {}
        for job in self.jobs:
            sessions.setdefault(job.session_id, []).append(job)
        return sessions
