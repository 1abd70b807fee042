"""A made-up session, written as workers write theirs, into which tests of the check put violations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from schemas.errors import ErrorCode, JobError
from schemas.messages import Audio, Begin, Cancelled, Complete, Error, Message, SegmentStart
from schemas.wire import Entry, pack, pack_codes, stream_fields, unpack, unpack_codes
from tests.chaos.check import NOTHING, Aftermath, Findings, check
from tests.chaos.ledger import Ledger, Published
from tests.chaos.segments import Place
from tests.chaos.undisturbed import Speech
from tests.chaos.writing import Piece, Script, Writing

Fields = dict[bytes, bytes]
TEXTS = ("Hello.", "And goodbye.")  # of a job's segments
CHUNK = [bytes(7 * seq + n for n in range(64)) for seq in range(4)]  # the codes, and so the samples, of a chunk


class Spoken:
    """Of these made-up jobs a frame's 16 samples are its 16 codes, and the text of a segment is its number."""

    def speech(self, job: Published, chunks: Sequence[Entry]) -> Speech:
        if not job.fields.get("text", "open"):
            raise JobError(ErrorCode.TEXT_EMPTY, "text is empty", "text")
        data, places = b"", list[Place]()
        for chunk in chunks:
            segment, _, codes = unpack_codes(chunk.codes or b"")
            if codes and segment == len(places):
                places.append((len(data) // 2, TEXTS[segment]))
            data += codes
        return Speech(data, tuple(places))


@dataclass(slots=True)
class Stage:
    """A session as workers write it. entries: by name, in the order of the stream."""

    ledger: Ledger = field(default_factory=Ledger)
    entries: dict[str, tuple[bytes, Fields]] = field(default_factory=dict)
    epoch: int = 1000
    n: int = 0
    n_chunks: dict[str, int] = field(default_factory=dict)
    n_samples: dict[str, int] = field(default_factory=dict)
    n_segments: dict[str, int] = field(default_factory=dict)
    at_ms: int = 1_000_000

    def publish_open(self, name: str, *pieces: Mapping[bytes, bytes]) -> None:
        """An open text, written at once; without an end where no piece has one."""
        fields = {"session_id": "s", "job_id": name, "text_from": "stream", "seed": "7"}
        writing = Writing(Script([Piece(0.0, one) for one in pieces], 0), 0.0, [(one, 0.0, 0.0) for one in pieces])
        self.ledger.jobs.append(Published("s", name, f"{len(self.ledger.jobs) + 1}-0", fields, 0.0, writing=writing))

    def publish(self, *names: str, **fields: str) -> None:
        for name in names:
            entry_id = f"{len(self.ledger.jobs) + 1}-0"
            its = {"session_id": "s", "job_id": name, "text": "Hello.", "seed": "7"} | fields
            self.ledger.jobs.append(Published("s", name, entry_id, its, 0.0))

    def begin(self, job: str, attempt: int = 1) -> None:
        n_samples = self.n_samples.setdefault(job, 0)
        body = Begin(
            job_id=job, session_id="s", voice="placeholder", model="made up", sample_rate=24000, encoding="pcm_s16le",
            attempt=attempt, resumed_at=n_samples, resumed_by="codes" if n_samples else None,
        )  # fmt: skip
        self.write(body, opens=True)

    def audio(self, job: str, segment: int, first_frame: int, is_final: bool = False) -> None:
        seq, pos = self.n_chunks.get(job, 0), self.n_samples[job]
        if segment == self.n_segments.get(job, 0):
            self.segment(job, segment, pos)
        body = Audio(job_id=job, session_id="s", seq=seq, pos=pos, data=CHUNK[seq], is_final=is_final)
        self.n_chunks[job], self.n_samples[job] = seq + 1, pos + 32
        self.write(body, codes=pack_codes(segment, first_frame, CHUNK[seq]))

    def segment(self, job: str, index: int, pos: int) -> None:
        self.n_segments[job] = index + 1
        self.write(SegmentStart(job_id=job, session_id="s", index=index, pos=pos, text=TEXTS[index]))

    def silence(self, job: str, is_final: bool) -> None:
        seq = self.n_chunks.get(job, 0)
        self.n_chunks[job] = seq + 1
        body = Audio(job_id=job, session_id="s", seq=seq, pos=self.n_samples[job], data=b"", is_final=is_final)
        self.write(body, codes=pack_codes(0, 0, b""))

    def complete(self, job: str) -> None:
        body = Complete(
            job_id=job, session_id="s", finish="stop", samples=self.n_samples[job], chunks=self.n_chunks[job],
            audio_ms=1, queue_ms=1, first_audio_ms=1, leading_silence_ms=0, rtf=0.5, seed=7, voice="placeholder",
            model="made up", text_spoken=" ".join(TEXTS[: self.n_segments.get(job, 0)]),
        )  # fmt: skip
        self.write(body)

    def cancelled(self, job: str) -> None:
        self.write(Cancelled(job_id=job, session_id="s", samples=self.n_samples.get(job, 0)), opens=True)

    def error(self, job: str, code: str, opens: bool = False) -> None:
        body = Error(job_id=job, session_id="s", code=code, message="publish it anew", retryable=False)
        self.write(body, opens=opens)

    def cancel(self, upto: str) -> None:
        self.ledger.cancels.setdefault("s", []).append(upto)
        self.epoch, self.n = self.epoch + 10, 0
        self._keep("cancel", {b"type": b"cancel", b"upto": upto.encode()})

    def write(self, body: Message, opens: bool = False, codes: bytes | None = None) -> None:
        self.epoch, self.n = (self.epoch + 10, 0) if opens else (self.epoch, self.n + 1)
        entry_id = next((job.entry_id for job in self.ledger.jobs if job.job_id == body.job_id), "99-0")
        flat = [
            word if isinstance(word, bytes) else str(word).encode()
            for word in stream_fields(body, entry_id, self.n_samples.get(body.job_id, 0), codes)
        ]
        self.at_ms += 100
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        self._keep(f"{body.job_id} {body.type}", fields | {b"at": b"%d" % self.at_ms})

    def _keep(self, name: str, fields: Fields) -> None:
        n = sum(known.startswith(name) for known in self.entries)
        self.entries[f"{name} {n}"] = (f"{self.epoch}-{self.n}".encode(), fields)

    def alter(self, name: str, **changes: Any) -> None:
        """Change an entry's body; `id` its stream id, `entry`, `delivered`, `codes`, `at` those beside."""
        stream_id, raw = self.entries[name]
        beside = {key: changes.pop(key) for key in ("entry", "delivered", "codes", "at") if key in changes}
        stream_id = changes.pop("id", stream_id)
        raw = raw | {key.encode(): value for key, value in beside.items()}
        if changes:
            body = unpack(raw[b"data"]).model_copy(update=changes)
            raw = raw | {b"data": pack(body), b"job_id": body.job_id.encode()}
        self.entries[name] = (stream_id, raw)

    def drop(self, *names: str) -> None:
        for name in names:
            del self.entries[name]

    def swap(self, one: str, other: str) -> None:
        """Exchange what two entries say, not their ids."""
        (one_id, one_fields), (other_id, other_fields) = self.entries[one], self.entries[other]
        self.entries[one], self.entries[other] = (one_id, other_fields), (other_id, one_fields)

    def check(self, aftermath: Aftermath = NOTHING) -> Findings:
        return check(self.ledger, lambda session_id: list(self.entries.values()), Spoken(), aftermath)


def good() -> Stage:
    """Five jobs: taken over in mid-utterance, cancelled while spoken and before, going on after a cancel, refused."""
    stage = Stage()
    stage.publish("a", "b", "c", "d")
    stage.publish("e", text="")
    stage.begin("a")
    stage.audio("a", 0, 0)
    stage.audio("a", 0, 2)
    stage.begin("a", attempt=2)
    stage.audio("a", 0, 4)
    stage.audio("a", 1, 0, is_final=True)
    stage.complete("a")
    stage.begin("b")
    stage.audio("b", 0, 0)
    stage.cancel("3-18446744073709551615")
    stage.cancelled("b")
    stage.cancelled("c")
    stage.begin("d")
    stage.audio("d", 0, 0)
    stage.cancel("2-0")
    stage.begin("d")
    stage.audio("d", 0, 2, is_final=True)
    stage.complete("d")
    stage.error("e", "text_empty", opens=True)
    return stage
