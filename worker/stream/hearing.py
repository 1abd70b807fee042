"""A relay without input and output: entries of a session's stream in, messages of the WebSocket protocol out.

vectors/streams/*.json of the contract have cases; vectors/README.md has the same code in Rust.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from schemas.errors import ErrorCode, WireError
from schemas.heard import Heard, what_was_heard
from schemas.messages import Audio, Begin, Cancelled, Complete, Error, Message, SegmentStart
from schemas.wire import read_entry

Sent = list[dict[str, Any]]
UNREADABLE = "an entry of this job cannot be read; use a relay and a worker of one version of the contract"
_COMPLETE = {"type": "complete"}
_CANCELLED = {"type": "complete", "cancelled": True}
_SAMPLE_BYTES = {"pcm_s16le": 2, "pcm_f32le": 4}  # every other encoding has one byte


@dataclass(slots=True)
class ReceivedJob:
    """What a reader knows of one job.

    made: samples up to which audio was received. has_chunk, has_final: whether a chunk, and a final one, was sent on.
    """

    segments: list[SegmentStart] = field(default_factory=list)
    made: int = 0
    is_complete: bool = False
    sample_bytes: int = 1
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

    def chunk(self, data: bytes, is_final: bool) -> Sent:
        self.has_chunk, self.has_final = True, is_final
        return [{"type": "audio_chunk", "data": base64.b64encode(data).decode(), "is_final": is_final}]


class Hearing:
    """One session's stream as a relay forwards it.

    Each job that was published is answered by exactly one `complete` or `error`. Entries of other jobs, and those that
    follow a job's end, are skipped: a job that was published again may have a second end.
    """

    def __init__(self) -> None:
        self.unfinished: list[str] = []
        self.jobs: dict[str, ReceivedJob] = {}
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

    def take(self, fields: Mapping[bytes, bytes]) -> Sent:
        """The messages to send for one entry of the stream. fields: flat, with `data` as msgpack."""
        if fields.get(b"type") == b"cancel":
            self._is_interrupted = True
            return []
        job_id = fields.get(b"job_id", b"").decode("utf-8", "replace")
        if job_id not in self.unfinished:
            return []
        try:
            message = read_entry(fields).message
        except WireError:
            return self._ended(job_id, {"type": "error", "code": str(ErrorCode.INTERNAL), "message": UNREADABLE})
        return [] if message is None else self._forwarded(job_id, message)

    def _forwarded(self, job_id: str, message: Message) -> Sent:
        job = self.jobs[job_id]
        match message:
            case Begin():
                self._is_interrupted = False
                job.sample_bytes = _SAMPLE_BYTES.get(message.encoding, 1)
                return []
            case SegmentStart():
                job.segments.append(message)
                return []
            case Audio():
                return [] if self._is_interrupted else self._chunk(job_id, message)
            case Complete():
                job.is_complete = True
                answer = _COMPLETE if job_id not in self._muted else _CANCELLED
            case Cancelled():
                answer = _CANCELLED
            case Error():
                answer = {"type": "error", "code": message.code, "message": message.message}
        return self._ended(job_id, answer)

    def _chunk(self, job_id: str, audio: Audio) -> Sent:
        job = self.jobs[job_id]
        fresh = job.fresh(audio)
        if job_id in self._muted or job.has_final or not (fresh or audio.is_final):
            return []
        return job.chunk(fresh, audio.is_final)

    def _closing(self, job_id: str) -> Sent:
        """An empty final chunk where the client waits for one."""
        job = self.jobs[job_id]
        return job.chunk(b"", is_final=True) if job.has_chunk and not job.has_final else []

    def _ended(self, job_id: str, answer: dict[str, Any]) -> Sent:
        self.unfinished.remove(job_id)
        self._muted.discard(job_id)
        self._is_interrupted = False
        return [*self._closing(job_id), answer]
