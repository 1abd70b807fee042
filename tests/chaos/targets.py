"""Who may be hit: workers that are at work, and none that holds a job on its last attempt.

A job whose workers die again and again without a new sample is given up after three, as the contract has it. That is
not what a run is to show, so who holds such a job is spared until it is through.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis

from tests.chaos.fleet import Fleet, Member
from worker.stream.keys import GROUP, Keys
from worker.stream.patience import is_no_group

MAX_ATTEMPTS = 3
LEAST_LIVELY = 2  # workers at work when one is hit


class Targets:
    """Asks the job plane, and so raises what its client does."""

    def __init__(self, fleet: Fleet, client: redis.Redis | redis.RedisCluster) -> None:
        self._fleet = fleet
        self._client: Any = client
        self._keys = Keys()

    def lively(self) -> list[Member]:
        """Who is at work; nobody when that are too few. Asks no Redis."""
        self._fleet.find_fallen()
        lively = [member for member in self._fleet.members if not member.is_stopped and self._fleet.is_ready(member)]
        return lively if len(lively) >= LEAST_LIVELY else []

    def unspared(self) -> list[Member]:
        """Who is at work and may be hit."""
        endangered = self._endangered()
        return [one for one in self.lively() if not any(owner.startswith(one.name_prefix) for owner in endangered)]

    def are_all_safe(self) -> bool:
        """True when every worker may lose everything."""
        return not self._endangered()

    def held_by(self, member: Member) -> list[str]:
        """Entry ids of the jobs that it runs."""
        return [entry_id for entry_id, owner in self._owners().items() if owner.startswith(member.name_prefix)]

    def heirs(self, held: Sequence[str]) -> list[Member]:
        """Who may be hit of those that run one of these now."""
        owners = self._owners()
        names = [owners[entry_id] for entry_id in held if entry_id in owners]
        return [one for one in self.unspared() if any(name.startswith(one.name_prefix) for name in names)]

    def _endangered(self) -> set[str]:
        """Owners of the jobs that are on their last attempt, "" of those that have none."""
        attempts = self._client.hgetall(self._keys.job_plane[5])
        late = {
            entry_id.decode(): n for entry_id, value in attempts.items() if (n := int(value.split()[0])) >= MAX_ATTEMPTS
        }
        owners = self._owners() if late else {}
        return {owners.get(entry_id, "") for entry_id, n in late.items() if n - self._base(entry_id) >= MAX_ATTEMPTS}

    def _base(self, entry_id: str) -> int:
        """The job's attempts that do not count, for the session has had new samples since."""
        for _, fields in self._client.xrange(self._keys.jobs, entry_id, entry_id):
            job = self._keys.job(fields[b"session_id"].decode(), entry_id)
            return int(self._client.hget(job, "base") or 0)
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
