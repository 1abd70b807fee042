"""A listener that checks every entry of a session's stream against the contract (docs/protocol.md)."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.scripts.plane import numbers

CHUNK = 10  # samples
CHUNKS_A_SEGMENT = 2
ENDS = ("complete", "cancelled", "error")


class Violation(AssertionError):
    """The contract was broken."""


def law(holds: bool, message: str) -> None:
    if not holds:
        raise Violation(message)


@dataclass(slots=True)
class Job:
    """A published entry. n_chunks: 0 for an invalid job. n_failures: attempts that its engine fails, at first.

    is_deleted: somebody took the entry away, so that the job has no gate any more and nobody ends it but who speaks it.
    """

    entry_id: str
    session_id: str
    job_id: str
    n_chunks: int
    n_failures: int = 0
    is_duplicate: bool = False
    is_deleted: bool = False
    n_given: int = 0

    @property
    def is_named(self) -> bool:
        return self.job_id != self.entry_id


@dataclass(slots=True)
class Heard:
    """An utterance as read so far. fence: of its newest `begin`."""

    delivered: int = 0
    fence: int = 0
    is_begun: bool = False
    end: str | None = None
    is_copy: bool = False  # a copy of the repeated job's terminal entry


@dataclass(slots=True)
class Listener:
    """One session's log. accidents: planted faults; they excuse a wrong order and nothing else."""

    session_id: str
    jobs: dict[str, Job]
    accidents: set[str]
    last_id: str = "-"
    utterances: dict[str, Heard] = field(default_factory=dict)
    cut: tuple[int, int] = (-1, -1)  # no job up to this ID may begin
    silenced: tuple[int, int] = (-1, -1)  # no job up to this ID may write entries
    speaker: str = ""
    epoch: int = 0
    n: int = 0
    is_in_segment: bool = False  # the last entry was a segment's, which its first chunk must follow
    last_end: str | None = None
    has_left: bool = False

    def hear(self, entries: list[tuple[str, dict[str, str]]]) -> None:
        for entry_id, fields in entries:
            self.last_id = entry_id
            follows = fields["type"] == "audio" or not self.is_in_segment
            law(follows, f"{entry_id}: {fields['type']} between a segment's entry and its first chunk")
            if fields["type"] == "cancel":
                self.speaker = ""
            else:
                self._hear(entry_id, fields)

    def _hear(self, entry_id: str, fields: dict[str, str]) -> None:
        kind, job = fields["type"], self.jobs[fields["entry"]]
        law(job.session_id == self.session_id, f"{entry_id}: of another session")
        law(fields["job_id"] == job.job_id, f"{entry_id}: job_id {fields['job_id']} is not {job.job_id}")
        if job.entry_id not in self.utterances:
            self._hear_first_of(job)
        heard = self.utterances[job.entry_id]
        first_end = self._first_end(job) if job.is_duplicate else None
        law(not job.is_duplicate or first_end is not None, f"{entry_id}: {kind} of a duplicate of a job without an end")
        law(heard.end is None, f"{entry_id}: {kind} after the end of {job.entry_id}")
        epoch, n = numbers(entry_id)
        if kind == "begin":
            self._hear_begin(job, heard, fields)
            law(epoch > self.epoch and n == 0, f"{entry_id}: no new epoch")
        elif kind == "segment":
            self._hear_part(entry_id, job)
            law(int(fields["delivered"]) == heard.delivered, f"{entry_id}: delivered is {fields['delivered']}")
        elif kind == "audio":
            begins = heard.delivered // CHUNK % CHUNKS_A_SEGMENT == 0
            law(begins == self.is_in_segment, f"{entry_id}: a segment's entry is missing, or too many")
            self._hear_part(entry_id, job)
            law(int(fields["delivered"]) == heard.delivered + CHUNK, f"{entry_id}: delivered is {fields['delivered']}")
            heard.delivered += CHUNK
        elif kind == first_end and not heard.is_begun:
            heard.end, heard.is_copy, self.last_end = kind, True, entry_id
        else:
            self._hear_end(entry_id, job, heard, fields)
        self.epoch, self.n, self.is_in_segment = epoch, n, kind == "segment"

    def _first_end(self, job: Job) -> str | None:
        """The end of an earlier entry of the same job."""
        ends = [
            heard.end
            for entry_id, heard in self.utterances.items()
            if entry_id != job.entry_id and self.jobs[entry_id].job_id == job.job_id
        ]
        return next((end for end in ends if end is not None), None)

    def _hear_first_of(self, job: Job) -> None:
        latest = max(self.utterances, key=numbers, default="0-0")
        in_order = numbers(job.entry_id) > numbers(latest) or job.is_deleted
        law(in_order or not self._holds("gates", "waiting"), f"{job.entry_id} is heard after {latest}")
        self.utterances[job.entry_id] = Heard()

    def _holds(self, *accidents: str) -> bool:
        """True if none of these accidents has happened."""
        return self.accidents.isdisjoint(accidents)

    def _hear_begin(self, job: Job, heard: Heard, fields: dict[str, str]) -> None:
        law(job.n_chunks > 0, f"{job.entry_id} begins although it is invalid")
        law(numbers(job.entry_id) > self.cut, f"{job.entry_id} begins after its cancel")
        law(int(fields["delivered"]) == heard.delivered, f"{job.entry_id} begins at {fields['delivered']}")
        fence = int(fields["data"])
        law(fence >= heard.fence, f"{job.entry_id} begins with an older fence")
        unfinished = [
            other
            for other, o in self.utterances.items()
            if o.is_begun and o.end is None and other != job.entry_id and not self.jobs[other].is_deleted
        ]
        alone = not unfinished or job.is_deleted
        law(alone or not self._holds("gates"), f"{job.entry_id} begins within {unfinished}")
        heard.fence, heard.is_begun = fence, True
        self.speaker = job.entry_id

    def _hear_part(self, entry_id: str, job: Job) -> None:
        law(numbers(job.entry_id) > self.silenced, f"{entry_id}: audio after its cancel")
        law(self.speaker == job.entry_id, f"{entry_id}: audio of {job.entry_id} after a begin of another")
        law(numbers(entry_id) == (self.epoch, self.n + 1), f"{entry_id}: a gap, or an epoch that was over")

    def _hear_end(self, entry_id: str, job: Job, heard: Heard, fields: dict[str, str]) -> None:
        kind = fields["type"]
        law(kind in ENDS, f"{entry_id}: unknown type {kind}")
        if kind == "complete":
            law(self.speaker == job.entry_id, f"{entry_id}: complete by a writer that is not the last")
            law(numbers(entry_id) == (self.epoch, self.n + 1), f"{entry_id}: complete in an epoch that was over")
            law(heard.delivered == job.n_chunks * CHUNK, f"{entry_id}: complete at {heard.delivered}")
        elif kind == "cancelled":
            law(numbers(job.entry_id) <= self.cut, f"{entry_id}: cancelled, but nobody did")
        else:
            self._hear_error(entry_id, job, fields["code"])
        heard.end, self.last_end = kind, entry_id

    def _hear_error(self, entry_id: str, job: Job, code: str) -> None:
        allowed = {
            "invalid_field": not job.n_chunks,
            "worker_lost": job.n_given > 3,
            "engine_failed": job.n_failures >= 3,
        }
        law(allowed.get(code, False), f"{entry_id}: error {code} without a cause")
