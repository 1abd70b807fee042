"""The scripts as a test calls them, and the plain commands of producers and relays beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import sha1
from typing import Any

import redis

from worker.stream import scripts as script
from worker.stream.keys import GROUP, Keys
from worker.stream.scripts import Script

SCRIPTS: Mapping[str, Script] = {
    made.name: made
    for made in (
        script.CLAIM,
        script.SETTLE,
        script.BEAT,
        script.RECLAIM,
        script.SWEEP,
        script.SET_ASIDE,
        script.BEGIN,
        script.APPEND,
        script.LOOK,
        script.END,
        script.REPEAT,
    )
}
FAR_FUTURE_MS = 9_999_999_999_999
PAST_EVERY_LEASE_MS = 100_000_000
MAX_FIELD_BYTES = 20_001
MAX_ATTEMPTS = 3


def numbers(entry_id: str) -> tuple[int, int]:
    ms, _, seq = entry_id.partition("-")
    return int(ms), int(seq)


@dataclass(frozen=True, slots=True)
class Lease:
    entry_id: str
    attempt: int
    fence: str
    session_id: str
    fields: tuple[str, ...]
    worker: str
    repeats: str = ""

    def field(self, name: str) -> str | None:
        """The fields as a dict. The first occurrence counts."""
        return next((v for n, v in zip(self.fields[::2], self.fields[1::2], strict=True) if n == name), None)


@dataclass(frozen=True, slots=True)
class Claim:
    leases: tuple[Lease, ...]
    last_job: str
    last_bell: str
    wait_ms: int
    n_duplicates: int
    now_ms: int

    @property
    def ids(self) -> list[str]:
        return [lease.entry_id for lease in self.leases]


class Plane:
    """Both planes on one server. scripts: what runs under each name, to try broken ones.

    The client decodes with surrogateescape, so that opaque bytes come back as they were sent.
    """

    def __init__(self, client: redis.Redis, scripts: Mapping[str, Script] = SCRIPTS) -> None:
        self.client = client
        self.keys = Keys()
        self._scripts = scripts
        self.odd: list[tuple[str, str]] = []
        self.hint = ""
        self.heals = False  # create a lost group and set keys aside, as a worker does

    def call(self, *words: Any) -> Any:
        return self.client.execute_command(*words)  # type: ignore[no-untyped-call]

    def _run(self, name: str, keys: tuple[str, ...], *arguments: Any) -> Any:
        source = self._scripts[name]
        try:
            return self.call("EVALSHA", source.sha, len(keys), *keys, *arguments)
        except redis.exceptions.NoScriptError:
            return self.call("EVAL", source.source, len(keys), *keys, *arguments)

    def _run_on_jobs(self, name: str, *arguments: Any) -> list[Any]:
        """The answer without its last part, the damage, which is added to `odd`."""
        answer: list[Any]
        *answer, odd = self._healed(partial(self._run, name, self.keys.job_plane, self.keys.seen_prefix, *arguments))
        self.odd += zip(odd[::2], odd[1::2], strict=True)
        return answer

    def _healed(self, run: Callable[[], Any]) -> Any:
        while True:
            try:
                return run()
            except redis.ResponseError as error:
                if not self.heals or not (self._has_made_group(error) or self.set_aside()):
                    raise

    def _has_made_group(self, error: redis.ResponseError) -> bool:
        try:
            if "NOGROUP" in str(error):
                self.create_group()
        except redis.ResponseError:  # the stream is none
            return False
        return "NOGROUP" in str(error)

    # the job plane

    def key(self, name: str) -> str:
        """jobs, ready, delayed, gates, waiting, attempts, bell, dead, workers, taken or sweeping."""
        return f"makima:{{speak}}:{name}"

    def recreate_group(self) -> None:
        """Lose the consumer group, and create it again from the stream's start."""
        self.call("XGROUP", "DESTROY", self.keys.jobs, "workers")
        self.create_group()

    def create_group(self) -> None:
        self.call("XGROUP", "CREATE", self.keys.jobs, GROUP, "0", "MKSTREAM")

    def publish(self, session_id: str | bytes | None = "s1", entry_id: str = "*", **fields: str | bytes) -> str:
        fields = {"text": "1", **fields}
        if session_id is not None:
            fields["session_id"] = session_id
        return str(self.call("XADD", self.keys.jobs, entry_id, *(w for pair in fields.items() for w in pair)))

    def claim(self, worker: str = "w1", count: int = 100, turn: int = 1, max_bytes: int = MAX_FIELD_BYTES) -> Claim:
        given, *rest = self._run_on_jobs("claim", worker, count, max_bytes, turn)
        last_job, last_bell, wait_ms, n_duplicates, now_ms = rest
        leases = tuple(_lease(raw, worker) for raw in given)
        return Claim(leases, last_job, last_bell, wait_ms, n_duplicates, int(now_ms))

    def claim_one(self, worker: str = "w1") -> Lease:
        (lease,) = self.claim(worker, 1).leases
        return lease

    def reclaim(self, worker: str = "w2", silent_ms: int = PAST_EVERY_LEASE_MS // 2, count: int = 10) -> list[Lease]:
        return self.reclaim_at("", worker, silent_ms, count)[0]

    def reclaim_at(
        self, sent_ms: int | str, worker: str = "w2", silent_ms: int = PAST_EVERY_LEASE_MS // 2, count: int = 10
    ) -> tuple[list[Lease], int, int]:
        """What a RECLAIM sent at that time takes over, ms until the next is due, and the server's clock."""
        given, due_ms, now_ms, _ = self._run_on_jobs("reclaim", worker, silent_ms, count, MAX_FIELD_BYTES, sent_ms, "-")
        return [_lease(raw, worker) for raw in given], due_ms, int(now_ms)

    def settle(self, lease: Lease, verdict: str = "ok", argument: str | int = "", may_come_again: bool = False) -> str:
        if verdict == "release":
            argument = lease.attempt - 1
        words = (lease.worker, lease.entry_id, lease.fence, lease.session_id, verdict, argument)
        return str(self._run_on_jobs("settle", *words, MAX_FIELD_BYTES, int(may_come_again))[0])

    def announce_end(self, lease: Lease) -> None:
        digest = sha1(f"\0ending {lease.entry_id}".encode(), usedforsecurity=False).hexdigest()
        self.client.set(self.keys.seen_prefix + digest, lease.entry_id, px=60_000)

    def beat(self, lease: Lease, n_attempts: int | str = "") -> str:
        words = (lease.worker, lease.entry_id, lease.fence, lease.session_id, n_attempts)
        return str(self._run_on_jobs("beat", *words)[0])

    def sweep(self, page_size: int = 200, silent_ms: int = 60_000, idle_ms: int = 3_600_000) -> int:
        """Sweep every page; returns how many there were."""
        self.client.delete(self.key("sweeping"))
        part, cursor, n_pages = 1, "", 0
        while part:
            words = ("w9", part, cursor, page_size, 10_000, silent_ms, idle_ms)
            part, cursor = self._run_on_jobs("sweep", *words)
            n_pages += 1
        self.client.delete(self.key("sweeping"))
        return n_pages

    def set_aside(self) -> list[tuple[str, str]]:
        """Set damaged keys aside; returns each key and its damage."""
        aside = (self.keys.aside_prefix, ":", 60_000)
        odd = self._run("set_aside", self.keys.job_plane, self.keys.seen_prefix, *aside)
        return list(zip(odd[::2], odd[1::2], strict=True))

    def go_silent(self, entry_id: str) -> None:
        """Make a pending entry look as if its lease had not been renewed for a day."""
        for pending in self.pending():
            if pending[0] == entry_id:
                self.call(
                    "XCLAIM", self.keys.jobs, GROUP, pending[1], 0, entry_id,
                    "IDLE", PAST_EVERY_LEASE_MS, "JUSTID",
                )  # fmt: skip

    def pending(self) -> list[tuple[str, str]]:
        """Entry ID and consumer of every running job."""
        found = self._healed(lambda: self.client.xpending_range(self.keys.jobs, GROUP, "-", "+", 10_000))
        return [(str(item["message_id"]), str(item["consumer"])) for item in found]

    def ready(self) -> list[str]:
        return list(self.call("LRANGE", self.key("ready"), 0, -1))

    def gates(self) -> dict[str, str]:
        return dict(self.call("HGETALL", self.key("gates")))

    def waiting(self) -> list[str]:
        return list(self.call("ZRANGE", self.key("waiting"), 0, -1))

    def unsettled(self) -> list[str]:
        return [entry_id for entry_id, _ in self.call("XRANGE", self.keys.jobs, "-", "+")]

    def dead(self) -> list[dict[str, str]]:
        return [fields for _, fields in self.call("XRANGE", self.keys.dead, "-", "+")]

    def now_ms(self) -> int:
        seconds, micros = self.call("TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    # the session plane

    def session_keys(self, session_id: str, entry_id: str) -> tuple[str, ...]:
        return self.keys.audio(session_id), self.keys.cut(session_id), self.keys.job(session_id, entry_id)

    def _run_on_session(
        self, name: str, lease: Lease, *arguments: Any, more_keys: tuple[str, ...] | None = None
    ) -> Any:
        """A script of the session plane. more_keys: behind the usual ones; None: of an open job its text."""
        job_id = lease.field("job_id") or lease.entry_id
        if more_keys is None:
            more_keys = () if lease.field("text_from") is None else (self.keys.text(lease.session_id, job_id),)
        keys = (*self.session_keys(lease.session_id, lease.entry_id), *more_keys)
        return list(self._run(name, keys, lease.entry_id, job_id, lease.fence, self.hint, *arguments))

    def begin(
        self,
        lease: Lease,
        believed: int = 0,
        body: bytes = b"begin",
        deadline_ms: int = FAR_FUTURE_MS,
        attempt: int | None = None,
        is_confirmed: bool = False,
    ) -> list[Any]:
        """BEGIN. attempt: number in the body; None: as claimed. is_confirmed: the job plane has confirmed the lease."""
        limits = (deadline_ms, lease.attempt, MAX_ATTEMPTS, lease.attempt if attempt is None else attempt)
        return list(self._run_on_session("begin", lease, believed, body, *limits, int(is_confirmed)))

    def end(
        self,
        lease: Lease,
        kind: str = "complete",
        at: str = "",
        delivered: int = 0,
        body: bytes = b"end",
        code: str = "",
        message: str = "",
        held: str = "",
    ) -> list[str]:
        return list(self._run_on_session("end", lease, kind, at, delivered, body, code, message, held))

    def repeat(self, lease: Lease) -> list[str]:
        """REPEAT: end a job that was published again after its end."""
        first = self.keys.job(lease.session_id, lease.repeats)
        return list(self._run_on_session("repeat", lease, more_keys=(first,)))

    def append(
        self, lease: Lease, before: str, at: str, delivered: int, data: bytes = b"audio", segment: str = ""
    ) -> list[str]:
        """Append one audio entry after another, as a session writer does. segment: data of a segment's entry.

        That entry comes between, under the ID before `at`.
        """
        epoch, n = numbers(at)
        first = [f"{epoch}-{n - 1}", *_fields(lease, "segment", delivered - 10, segment)] if segment else []
        words = [at, *_fields(lease, "audio", delivered, data), "codes", b""]
        return list(self._run_on_session("append", lease, before, len(first), *first, *words))

    def look(self, lease: Lease, last: str) -> list[str]:
        """LOOK: what a writer finds that waits."""
        return list(self._run_on_session("look", lease, last))

    def write(self, lease: Lease, at: str, delivered: int, data: bytes = b"audio", segment: str = "") -> list[str]:
        """Append an epoch's next audio entry; with a segment's entry, `at` is the second ID after the last one."""
        epoch, n = numbers(at)
        return self.append(lease, f"{epoch}-{n - (2 if segment else 1)}", at, delivered, data, segment)

    def cancel(self, session_id: str, upto: str, epoch: int | None = None) -> list[Any]:
        """Cancel as a relay does. epoch: one above the ms it read last, None for `*`. Returns answers and errors."""
        cut, audio = self.keys.cut(session_id), self.keys.audio(session_id)
        at = "*" if epoch is None else f"{epoch}-0"
        with self.client.pipeline(transaction=True) as multi:
            for words in (
                ("XADD", cut, "MAXLEN", 1, upto, "type", "cancel"),
                ("PEXPIRE", cut, 600_000),
                ("XADD", audio, "NOMKSTREAM", at, "type", "cancel", "upto", upto),
            ):
                multi.execute_command(*words)  # type: ignore[no-untyped-call]
            return list(multi.execute(raise_on_error=False))

    def heard(self, session_id: str, after: str = "-") -> list[tuple[str, dict[str, str]]]:
        """The session's entries after one of them."""
        start = after if after == "-" else f"({after}"
        return list(self.call("XRANGE", self.keys.audio(session_id), start, "+"))

    def types(self, session_id: str) -> list[str]:
        return [fields["type"] for _, fields in self.heard(session_id)]


def _fields(lease: Lease, kind: str, delivered: int, data: str | bytes) -> list[Any]:
    job_id = lease.field("job_id") or lease.entry_id
    return ["type", kind, "job_id", job_id, "entry", lease.entry_id, "delivered", delivered, "data", data]


def _lease(raw: list[Any], worker: str) -> Lease:
    entry_id, attempt, fence, session_id, fields, repeats = raw
    return Lease(entry_id, attempt, fence, session_id, tuple(fields), worker, repeats)


def a_lease(session_id: str = "s1", entry_id: str = "1000-0", fence: int = 1, job_id: str | None = None) -> Lease:
    """A lease as CLAIM would create it, for scripts of the session plane alone."""
    fields = () if job_id is None else ("job_id", job_id)
    return Lease(entry_id, 1, str(fence), session_id, fields, "w1")
