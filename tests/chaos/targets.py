"""Chooses the workers that may be hit: those at work without a job on its last attempt.

A job whose workers die again and again without a new sample is given up after three, as the contract has it. That is
not what a run is to show, so who holds such a job is spared until it is through.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Any

import redis

from tests.chaos.fleet import Fleet, Member
from tests.chaos.odd import is_like_an_id
from worker.stream.keys import GROUP, Keys
from worker.stream.transport.retry import is_no_group

MAX_ATTEMPTS = 3
SERVED_S = 0.5
MAX_DIGITS = 16
_RECORD = re.compile(rb"([0-9]{1,9}) [0-9]{1,20}").match
LEAST_LIVELY = 2  # workers at work when one is hit


class Targets:
    """Asks the job plane, and so raises what its client does."""

    def __init__(self, fleet: Fleet, client: redis.Redis | redis.RedisCluster) -> None:
        self._fleet = fleet
        self._client: Any = client
        self._keys = Keys()
        self._listed_at_s: dict[int, float] = {}

    def lively(self) -> list[Member]:
        """Who is at work; nobody when that are too few. Asks no Redis."""
        self._fleet.find_fallen()
        lively = [member for member in self._fleet.members if not member.is_stopped and self._fleet.is_ready(member)]
        return lively if len(lively) >= LEAST_LIVELY else []

    def have_all_served(self) -> bool:
        """True when each worker had its rights for a while: it stood in the list of workers at two calls, far apart."""
        names = [name.decode(errors="replace") for name in self._client.hkeys(self._keys.workers)]
        now_s = time.monotonic()
        for member in self._fleet.members:
            if any(name.startswith(member.name_prefix) for name in names):
                self._listed_at_s.setdefault(member.pid, now_s)
        return all(now_s - self._listed_at_s.get(member.pid, now_s) > SERVED_S for member in self._fleet.members)

    def is_spared(self, member: Member) -> bool:
        """Sure only of one that stands still: what it holds may change while this is answered."""
        return any(owner.startswith(member.name_prefix) for owner in self._endangered())

    def are_all_safe(self) -> bool:
        """True when every worker may lose everything."""
        return not self._endangered()

    def held_by(self, member: Member) -> list[str]:
        """Entry ids of the jobs that it runs."""
        return [entry_id for entry_id, owner in self._owners().items() if owner.startswith(member.name_prefix)]

    def heirs(self, held: Sequence[str]) -> list[Member]:
        """Those at work that run one of these now."""
        owners = self._owners()
        names = [owners[entry_id] for entry_id in held if entry_id in owners]
        return [one for one in self.lively() if any(name.startswith(one.name_prefix) for name in names)]

    def _endangered(self) -> set[str]:
        """Owners of the jobs that are on their last attempt, "" for those that will be once somebody has them."""
        attempts = self._client.hgetall(self._keys.job_plane[5])
        owners = self._owners()
        found = set()
        for raw_id, value in attempts.items():
            record = _RECORD(value)
            if record is None or not is_like_an_id(raw_id):  # nobody's
                continue
            entry_id, n = raw_id.decode(), int(record[1])
            owner = owners.get(entry_id, "")
            least = MAX_ATTEMPTS if owner else MAX_ATTEMPTS - 1
            if n >= least and n - self._base(entry_id) >= least:
                found.add(owner)
        return found

    def _base(self, entry_id: str) -> int:
        """The job's attempts that do not count, for the session has had new samples since."""
        for _, fields in self._client.xrange(self._keys.jobs, entry_id, entry_id):
            job = self._keys.job(fields.get(b"session_id", b"").decode(errors="replace"), entry_id)
            base = self._client.hget(job, "base") or b""
            return int(base) if base.isdigit() and len(base) < MAX_DIGITS else 0
        return 0

    def _owners(self) -> dict[str, str]:
        """Entry id -> worker of what is running."""
        try:
            pending = self._client.xpending_range(self._keys.jobs, GROUP, "-", "+", 1000)
        except redis.ResponseError as error:
            if is_no_group(error):
                return {}
            raise
        return {one["message_id"].decode(): one["consumer"].decode() for one in pending}
