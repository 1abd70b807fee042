"""What a chaos run did: the jobs it published, what it cancelled, and every fault it caused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Published:
    """One job, acknowledged by Redis. fields: as published, job_id among them: a publish repeated after a lost reply
    is the same job. entry_id: of the last acknowledged XADD. at_s: monotonic seconds of the acknowledgement.
    """

    session_id: str
    job_id: str
    entry_id: str
    fields: Mapping[str, str]
    at_s: float


@dataclass(slots=True)
class Ledger:
    """jobs: in the order published, which per session is the order to be heard.

    cancels: session -> entry ids up to which it was cancelled (acknowledged or not). left: sessions whose relay left;
    their streams expire. faults: how often each kind of fault was caused.
    """

    jobs: list[Published] = field(default_factory=list)
    cancels: dict[str, list[str]] = field(default_factory=dict)
    left: set[str] = field(default_factory=set)
    faults: Counter[str] = field(default_factory=Counter)

    def by_session(self) -> dict[str, list[Published]]:
        sessions: dict[str, list[Published]] = {}
        for job in self.jobs:
            sessions.setdefault(job.session_id, []).append(job)
        return sessions
