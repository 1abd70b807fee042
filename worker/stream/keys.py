"""Names and lifetimes of all Redis keys. The job plane has the hash tag {speak}, a session plane {<session>}."""

from __future__ import annotations

from dataclasses import dataclass

GROUP = "workers"
SESSION_TTL_MS = 600_000  # of a session's keys, after the last write that renewed it
SEEN_TTL_MS = 86_400_000  # of a job_id: within it, the same job_id is the same job
ASIDE_TTL_MS = 7 * 86_400_000  # of a damaged key that was renamed
JOB_PLANE = (
    "jobs", "ready", "delayed", "gates", "waiting", "attempts", "bell", "dead", "workers", "taken", "sweeping",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Keys:
    """Key names under one prefix."""

    prefix: str = "makima"

    @property
    def jobs(self) -> str:
        return f"{self.prefix}:{{speak}}:jobs"

    @property
    def dead(self) -> str:
        return f"{self.prefix}:{{speak}}:dead"

    @property
    def bell(self) -> str:
        return f"{self.prefix}:{{speak}}:bell"

    @property
    def workers(self) -> str:
        return f"{self.prefix}:{{speak}}:workers"

    @property
    def seen_prefix(self) -> str:
        return f"{self.prefix}:{{speak}}:seen:"

    @property
    def job_plane(self) -> tuple[str, ...]:
        """KEYS of the job plane's scripts, in the order of their prelude. All but `sweeping` never expire."""
        return tuple(map(self.job_plane_key, JOB_PLANE))

    def job_plane_key(self, name: str) -> str:
        return f"{self.prefix}:{{speak}}:{name}"

    @property
    def aside_prefix(self) -> str:
        """Prefix of damaged keys that were renamed."""
        return f"{self.prefix}:{{speak}}:aside:"

    def audio(self, session_id: str) -> str:
        return f"{self.prefix}:{{{session_id}}}:audio"

    def text(self, session_id: str, job_id: str) -> str:
        """The stream of a text that is being written."""
        return f"{self.prefix}:{{{session_id}}}:text:{job_id}"

    def cut(self, session_id: str) -> str:
        return f"{self.prefix}:{{{session_id}}}:cut"

    def job(self, session_id: str, entry_id: str) -> str:
        return f"{self.prefix}:{{{session_id}}}:job:{entry_id}"
