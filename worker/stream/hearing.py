"""A relay without input and output: entries of a session's stream in, what the client of that session receives out.

vectors/streams/*.json of the contract have cases; schemas/rust/src/hearing.rs is the same in Rust.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from schemas.errors import ErrorCode, WireError
from schemas.heard import Heard, what_was_heard
from schemas.messages import Audio, Begin, Cancelled, Complete, Error, Message, SegmentStart
from schemas.wire import read_entry

KEPT = 32  # finished jobs, of which it is still known what was heard
UNREADABLE = "an entry of this job cannot be read; use a relay and a worker of one version of the contract"
_COMPLETE = {"type": "complete"}
CANCELLED = {"type": "complete", "cancelled": True}
_SAMPLE_BYTES = {"pcm_s16le": 2, "pcm_f32le": 4}  # every other encoding has one byte


@dataclass(frozen=True, slots=True)
class SentChunk:
    """Samples for the client. n_samples: of `data`, which is empty in a chunk that only ends an utterance."""

    job_id: str
    data: bytes
    n_samples: int
    is_final: bool


@dataclass(frozen=True, slots=True)
class SentSegment:
    """A part of the text, before its first samples."""

    job_id: str
    segment: SegmentStart


@dataclass(frozen=True, slots=True)
class SentAnswer:
    """The one answer to a job: the WebSocket message `complete` or `error`."""

    job_id: str
    message: dict[str, Any]


Sent = list[SentChunk | SentSegment | SentAnswer]


def chunk_message(data: bytes, is_final: bool) -> dict[str, Any]:
    return {"type": "audio_chunk", "data": base64.b64encode(data).decode(), "is_final": is_final}


def as_messages(sent: Iterable[SentChunk | SentSegment | SentAnswer]) -> list[dict[str, Any]]:
    """The WebSocket messages of a client that wants neither binary frames nor segments."""
    return [
        one.message if isinstance(one, SentAnswer) else chunk_message(one.data, one.is_final)
        for one in sent
        if not isinstance(one, SentSegment)
    ]


@dataclass(frozen=True, slots=True)
class ReadEntry:
    """One entry of a session's stream. message: None for an unknown type and a cancel; unreadable where is_broken.

    entry: the ID of the job's entry in the job stream; "" where the entry names none.
    """

    kind: str
    job_id: str
    entry: str
    message: Message | None
    is_broken: bool = False

    @classmethod
    def of(cls, fields: Mapping[bytes, bytes]) -> ReadEntry:
        """fields: flat, with `data` as msgpack."""
        kind, job_id, entry = (fields.get(name, b"").decode("utf-8", "replace") for name in _FLAT)
        try:
            return cls(kind, job_id, entry, read_entry(fields).message)
        except WireError:
            return cls(kind, job_id, entry, None, is_broken=True)


_FLAT = (b"type", b"job_id", b"entry")


@dataclass(slots=True)
class ReceivedJob:
    """What a reader knows of one job.

    made: samples up to which audio was received. has_chunk, has_final: whether a chunk, and a final one, was sent on.
    """

    segments: list[SegmentStart] = field(default_factory=list)
    made: int = 0
    is_complete: bool = False
    sample_bytes: int = 1
    has_begun: bool = False
    has_chunk: bool = False
    has_final: bool = False

    def heard(self, played: int) -> Heard:
        """What was heard after so many samples were played."""
        return what_was_heard(self.segments, self.made, self.is_complete, played)

    def fresh(self, audio: Audio) -> bytes:
        """The samples of a chunk that were not received before."""
        n_known = max(0, self.made - audio.pos)
        self.made = max(self.made, audio.pos + len(audio.data) // self.sample_bytes)
        return audio.data[n_known * self.sample_bytes :]

    def chunk(self, job_id: str, data: bytes, is_final: bool) -> Sent:
        self.has_chunk, self.has_final = True, is_final
        return [SentChunk(job_id, data, len(data) // self.sample_bytes, is_final)]


class Hearing:
    """One session's stream as a relay forwards it.

    Each job that was published is answered by exactly one `complete` or `error`. Entries of other jobs, and those that
    follow a job's end, are skipped: a job that was published again may have a second end.
    """

    def __init__(self) -> None:
        self.unfinished: list[str] = []
        self.jobs: dict[str, ReceivedJob] = {}
        self._finished: deque[str] = deque()
        self._muted: set[str] = set()
        self._is_interrupted = False

    def published(self, job_id: str) -> None:
        """Call it before the XADD; again for a job that is published again."""
        if job_id not in self.unfinished:
            self.unfinished.append(job_id)
            self.jobs[job_id] = ReceivedJob()

    def stop(self) -> Sent:
        """Mute all jobs published so far, until their ends; then cancel them."""
        self._muted.update(self.unfinished)
        return [message for job_id in self.unfinished for message in self._closing(job_id)]

    def is_muted(self, job_id: str) -> bool:
        return job_id in self._muted

    def parts(self, entry: ReadEntry, max_samples: int) -> list[ReadEntry]:
        """The entry, or several in its place where it has more samples."""
        job, audio = self.jobs.get(entry.job_id), entry.message
        if job is None or not isinstance(audio, Audio) or len(audio.data) <= max_samples * job.sample_bytes:
            return [entry]
        cuts = range(0, len(audio.data), max_samples * job.sample_bytes)
        return [replace(entry, message=_part(audio, at, cuts.step, job.sample_bytes)) for at in cuts]

    def samples_of(self, entry: ReadEntry) -> int:
        """How many samples `take` would send for this entry."""
        if not isinstance(entry.message, Audio) or not self._is_forwarded(entry.job_id):
            return 0
        job = self.jobs[entry.job_id]
        return max(
            0, entry.message.pos + len(entry.message.data) // job.sample_bytes - max(job.made, entry.message.pos)
        )

    def take(self, entry: ReadEntry) -> Sent:
        """What to send for one entry of the stream."""
        if entry.kind == "cancel":
            self._is_interrupted = True
        if entry.job_id not in self.unfinished:
            return []
        if entry.is_broken:
            return self.end(entry.job_id, {"type": "error", "code": str(ErrorCode.INTERNAL), "message": UNREADABLE})
        return [] if entry.message is None else self._forwarded(entry.job_id, entry.message)

    def end(self, job_id: str, answer: dict[str, Any]) -> Sent:
        """End a job with this answer, after an empty final chunk where the client waits for one."""
        if job_id not in self.unfinished:
            return []
        closing = self._closing(job_id)
        self.unfinished.remove(job_id)
        self._muted.discard(job_id)
        self._is_interrupted = False
        self._finished.append(job_id)
        if len(self._finished) > KEPT:
            self.jobs.pop(self._finished.popleft(), None)
        return [*closing, SentAnswer(job_id, answer)]

    def _is_forwarded(self, job_id: str) -> bool:
        is_silent = self._is_interrupted or job_id in self._muted or job_id not in self.unfinished
        return not is_silent and not self.jobs[job_id].has_final

    def _forwarded(self, job_id: str, message: Message) -> Sent:
        job = self.jobs[job_id]
        match message:
            case Begin():
                self._is_interrupted = False
                job.has_begun = True
                job.sample_bytes = _SAMPLE_BYTES.get(message.encoding, 1)
                return []
            case SegmentStart():
                job.segments.append(message)
                return [SentSegment(job_id, message)] if self._is_forwarded(job_id) else []
            case Audio():
                return [] if self._is_interrupted else self._chunk(job_id, message)
            case Complete():
                job.is_complete = True
                answer = _COMPLETE if job_id not in self._muted else CANCELLED
            case Cancelled():
                answer = CANCELLED
            case Error():
                answer = {"type": "error", "code": message.code, "message": message.message}
        return self.end(job_id, answer)

    def _chunk(self, job_id: str, audio: Audio) -> Sent:
        job = self.jobs[job_id]
        fresh = job.fresh(audio)
        if not self._is_forwarded(job_id) or not (fresh or audio.is_final):
            return []
        return job.chunk(job_id, fresh, audio.is_final)

    def _closing(self, job_id: str) -> Sent:
        """An empty final chunk where the client waits for one."""
        job = self.jobs[job_id]
        return job.chunk(job_id, b"", is_final=True) if job.has_chunk and not job.has_final else []


def _part(audio: Audio, at: int, n_bytes: int, sample_bytes: int) -> Audio:
    is_final = audio.is_final and at + n_bytes >= len(audio.data)
    data = audio.data[at : at + n_bytes]
    return audio.model_copy(update={"pos": audio.pos + at // sample_bytes, "data": data, "is_final": is_final})
