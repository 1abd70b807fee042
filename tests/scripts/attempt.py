"""One worker's attempt at one job, a Redis command at a time, so that a test can put anything in between.

It follows the protocol as the worker does and is told nothing that a worker would not know.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from typing import Any

from tests.scripts.listener import CHUNK, CHUNKS_A_SEGMENT
from tests.scripts.plane import MAX_ATTEMPTS, Lease, Plane

Command = Callable[[], Any]
Steps = Generator[Command, Any, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """A job's engine behaviour, encoded in its text: number of chunks, and after how many the first attempts fail."""

    n_chunks: int
    n_failures: int = 0
    fails_at: int = 0

    @property
    def text(self) -> str:
        return f"{self.n_chunks} {self.n_failures} {self.fails_at}" if self.n_chunks else "invalid"

    @staticmethod
    def of(text: str) -> Plan | None:
        return None if text == "invalid" else Plan(*map(int, text.split()))


class Fenced(Exception):
    """Another worker has the job: write nothing and settle nothing."""


class Ended(Exception):
    """The job has its terminal entry. kind: its type."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class Displaced(Exception):
    """Another job's entries follow this attempt's."""


class Attempt:
    def __init__(self, plane: Plane, lease: Lease) -> None:
        self.lease = lease
        self._plane = plane
        self._delivered = 0
        self._epoch = ""
        self._n = 0
        self._attempt = self._n_fruitless = lease.attempt
        self._steps = self._run()
        self._unanswered: Command | None = None
        self._answer: Any = None

    def step(self, loses_reply: bool) -> bool:
        """Send the next command, or repeat the one whose reply was lost. False: the attempt is over."""
        command = self._unanswered
        if command is None:
            try:
                command = self._steps.send(self._answer)
            except StopIteration:
                return False
        answer = command()
        self._unanswered = command if loses_reply else None
        self._answer = answer
        return True

    def give_back(self) -> None:
        """Stop speaking, as in a drain; the next step releases the job."""
        self._steps = self._settle("release")
        self._unanswered = self._answer = None

    def _run(self) -> Steps:
        try:
            yield from self._speak()
        except Fenced:
            return
        except Displaced:
            yield from self._settle("release")
        except Ended as ended:
            yield from self._settle("dead" if ended.kind == "error" else "ok", ended.kind)

    def _speak(self) -> Steps:
        if self.lease.repeats:
            answer = yield lambda: self._plane.repeat(self.lease)
            if answer[0] == "DONE" and not answer[2]:
                raise Ended(answer[1])
            if answer[0] != "NONE":
                yield from self._settle("ok")
                return
        if not self.lease.session_id:
            yield from self._settle("dead", "invalid_field")
            return
        plan = Plan.of(self.lease.field("text") or "")
        if plan is None:
            yield from self._end("error", "invalid_field")
            return
        yield from self._begin()
        while self._delivered < plan.n_chunks * CHUNK:
            if self.lease.attempt <= plan.n_failures and self._n > plan.fails_at:
                yield from self._fail()
                return
            yield from self._write()
        yield from self._end("complete")

    def _fail(self) -> Steps:
        if self._n_fruitless >= MAX_ATTEMPTS:
            yield from self._end("error", "engine_failed")
        else:
            yield from self._settle("retry", 0)

    def _begin(self) -> Steps:
        answer: list[Any] = ["MOVED", self._delivered, self._attempt]
        while answer[0] == "MOVED":
            self._delivered, self._attempt = int(answer[1]), answer[2]
            answer = yield partial(self._ask_to_begin, self._delivered, self._attempt)
        match answer[0]:
            case "OK":
                self._epoch, self._n, self._n_fruitless = answer[1], 1, answer[2]
            case "DONE":
                raise Ended(answer[1])
            case "FENCED":
                raise Fenced
            case "CANCELLED" | "GONE" as why:
                self._delivered = int(answer[1]) if why == "CANCELLED" else self._delivered
                yield from self._end("cancelled")
            case other:
                yield from self._end("error", "worker_lost" if other == "SPENT" else "internal")

    def _ask_to_begin(self, believed: int, attempt: int) -> list[Any]:
        return self._plane.begin(self.lease, believed, self.lease.fence.encode(), attempt=attempt)

    def _write(self) -> Steps:
        number = self._delivered // CHUNK
        segment = f"{number}" if number % CHUNKS_A_SEGMENT == 0 else ""
        n_entries = 2 if segment else 1
        before, at = f"{self._epoch}-{self._n - 1}", f"{self._epoch}-{self._n + n_entries - 1}"
        after = self._delivered + CHUNK
        answer = yield lambda: self._plane.append(self.lease, before, at, after, segment=segment)
        match answer[0]:
            case "OK" | "LANDED":
                self._n, self._delivered = self._n + n_entries, after
            case "GONE":
                yield from self._end("cancelled")
            case _:
                yield from self._begin_again(answer)

    def _begin_again(self, answer: list[str]) -> Steps:
        """Handle STALE: the stream ends with another entry."""
        if answer[0] == "CANCELLED":
            self._delivered = int(answer[1] or self._delivered)
            yield from self._end("cancelled")
        kind, entry_id = answer[2:4]
        yield from self._beat()
        if kind != "cancel" and entry_id not in ("", self.lease.entry_id):
            raise Displaced
        yield from self._begin()

    def _end(self, kind: str, code: str = "") -> Steps:
        """Handle a rejected write. Returns only when the utterance continues; else raises Ended or Fenced."""
        at = f"{self._epoch}-{self._n}" if self._epoch else ""
        delivered = self._delivered
        answer = yield lambda: self._plane.end(self.lease, kind, at, delivered, code=code)
        match answer[0]:
            case "FENCED":
                raise Fenced
            case "STALE" | "CANCELLED":
                yield from self._begin_again(answer)
                yield from self._end(kind, code)
            case _:
                raise Ended(answer[1])

    def _beat(self) -> Steps:
        answer = yield lambda: self._plane.beat(self.lease)
        if answer == "LOST":
            raise Fenced

    def _settle(self, verdict: str, argument: str | int = "") -> Steps:
        yield lambda: self._plane.settle(self.lease, verdict, argument)
