"""Golden streams: entries of a session's stream, and what a relay sends to its WebSocket client for each of them.

A step publishes a job, gives an entry, stops, or compares what was heard. What is sent is written here by hand.
"""

from __future__ import annotations

import base64
from typing import Any, Self

from schemas.errors import ErrorCode
from schemas.messages import Audio, Begin, Cancelled, Complete, Error, Message, SegmentStart
from schemas.wire import pack_codes, stream_fields

Stream = dict[str, Any]

_SESSION = "s1"
_EPOCH = 1_760_000_000_000
DONE = {"type": "complete"}
CANCELLED = DONE | {"cancelled": True}
CLOSING = {"type": "audio_chunk", "data": "", "is_final": True}
UNREADABLE = {
    "type": "error",
    "code": "internal",
    "message": "an entry of this job cannot be read; use a relay and a worker of one version of the contract",
}

_BAD: dict[str, str | bytes] = {"type": "", "job_id": "u1", "entry": "1-1", "delivered": "2"}


def samples(first: int, n: int) -> bytes:
    """Samples first … first + n - 1 of pcm_s16le, each with its index as its value."""
    return b"".join(at.to_bytes(2, "little") for at in range(first, first + n))


def sent(first: int, n: int, is_final: bool = False) -> dict[str, Any]:
    """The audio_chunk with these samples."""
    return {"type": "audio_chunk", "data": base64.b64encode(samples(first, n)).decode(), "is_final": is_final}


class StreamCase:
    """Builds the steps of one stream. A method's last argument is what the relay sends."""

    def __init__(self, note: str) -> None:
        self.note = note
        self.steps: list[dict[str, Any]] = []
        self._epoch, self._n, self._delivered, self._seq = _EPOCH, 0, 0, -1
        self._job = "u1"

    def publish(self, *job_ids: str) -> Self:
        self.steps += [{"publish": job_id} for job_id in job_ids]
        return self

    def begin(self, job: str = "u1", at: int = 0, encoding: str = "pcm_s16le", attempt: int = 1) -> Self:
        self._epoch, self._n = self._epoch + 1_000, -1
        self._seq = self._seq if job == self._job and at else -1
        self._job, self._delivered = job, at
        return self._add(
            Begin(
                **self._own(), voice="makima", model="preview", sample_rate=24_000, encoding=encoding, attempt=attempt,
                resumed_at=at, resumed_by="codes" if at else None,
            ),
        )  # fmt: skip

    def segment(self, index: int, pos: int, text: str) -> Self:
        return self._add(SegmentStart(**self._own(), index=index, pos=pos, text=text))

    def audio(self, first: int, n: int, *sends: dict[str, Any], is_final: bool = False) -> Self:
        """n samples from `first`; by default all of them are sent on."""
        return self.data(first, samples(first, n), *(sends or (sent(first, n, is_final),)), is_final=is_final)

    def dropped(self, first: int, n: int, is_final: bool = False) -> Self:
        """An audio entry for which nothing is sent."""
        return self.data(first, samples(first, n), is_final=is_final)

    def data(self, first: int, data: bytes, *sends: dict[str, Any], is_final: bool = False) -> Self:
        self._delivered = max(self._delivered, first + len(data) // 2)
        self._seq += 1
        message = Audio(**self._own(), seq=self._seq, pos=first, data=data, is_final=is_final)
        return self._add(message, *sends, codes=pack_codes(0, 0, b""))

    def complete(self, *sends: dict[str, Any], finish: str = "stop") -> Self:
        n = self._delivered
        message = Complete(
            **self._own(), finish=finish, samples=n, chunks=1, audio_ms=n // 24, queue_ms=1, first_audio_ms=20,
            leading_silence_ms=0, rtf=0.1, seed=7, voice="makima", model="preview", text_spoken="",
        )  # fmt: skip
        return self._add(message, *sends)

    def cancelled(self, *sends: dict[str, Any], job: str | None = None) -> Self:
        self._job = job or self._job
        return self._add(Cancelled(**self._own(), samples=self._delivered), *sends)

    def error(self, code: ErrorCode, *sends: dict[str, Any]) -> Self:
        return self._add(Error(**self._own(), code=code, message=f"{code}", retryable=code.retryable), *sends)

    def flat(self, fields: dict[str, str | bytes], *sends: dict[str, Any]) -> Self:
        """An entry as it stands, without a message of the contract."""
        written = [[name, _plain(value)] for name, value in fields.items()]
        return self._step(written, sends)

    def stop(self, *sends: dict[str, Any]) -> Self:
        self.steps.append({"stop": True, "sends": list(sends)})
        return self

    def heard(self, played: int, text: str, segment: int | None, is_estimate: bool, job: str = "u1") -> Self:
        heard = {"played": played, "text": text, "segment": segment, "is_estimate": is_estimate}
        self.steps.append({"job_id": job, "heard": heard})
        return self

    def _own(self) -> dict[str, Any]:
        return {"job_id": self._job, "session_id": _SESSION}

    def _add(self, message: Message, *sends: dict[str, Any], codes: bytes | None = None) -> Self:
        flat = stream_fields(message, f"{_EPOCH - 9}-{self._job[1:]}", self._delivered, codes)
        return self._step([[flat[at], _plain(flat[at + 1])] for at in range(0, len(flat), 2)], sends)

    def _step(self, fields: list[list[Any]], sends: tuple[dict[str, Any], ...]) -> Self:
        self._n += 1
        at = str(self._epoch + 20 * self._n)
        entry = {"id": f"{self._epoch}-{self._n}", "fields": [*fields, ["at", at]]}
        self.steps.append({"entry": entry, "sends": list(sends)})
        return self


def _plain(value: bytes | str | int) -> Any:
    return {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else str(value)


def streams() -> dict[str, Stream]:
    """File name to JSON."""
    return {name: {"note": case.note, "steps": case.steps} for name, case in _cases().items()}


def _cases() -> dict[str, StreamCase]:
    return {
        "two_jobs": StreamCase("two jobs, one after the other; the second begins at position 0")
        .publish("u1", "u2")
        .begin().audio(0, 4).audio(4, 4).audio(8, 2, is_final=True).complete(DONE)
        .begin("u2").audio(0, 3).audio(3, 0, is_final=True).complete(DONE),
        "takeover": StreamCase("another worker begins the same job again and continues at its position")
        .publish("u1")
        .begin().segment(0, 0, "Hello there.").audio(0, 6).segment(1, 6, "How are you?").audio(6, 2)
        .begin(at=8, attempt=2).audio(8, 4).audio(12, 0, is_final=True).complete(DONE)
        .heard(12, "Hello there. How are you?", 1, False),
        "takeover_in_a_gap": StreamCase("a segment stands there again after a take-over: the later one holds")
        .publish("u1")
        .begin().segment(0, 0, "Good").begin(attempt=2).segment(0, 0, "Good morning.").audio(0, 10)
        .heard(10, "Good morning.", 0, True)
        .audio(10, 3, is_final=True).complete(DONE).heard(4, "Good", 0, True),
        "duplicates": StreamCase("a fail-over lost entries that were read: samples below the position are dropped")
        .publish("u1")
        .begin().audio(0, 4).audio(4, 4).begin(at=4, attempt=2).audio(4, 6, sent(8, 2)).dropped(6, 2)
        .audio(10, 2, is_final=True).begin(at=10, attempt=3).dropped(10, 2, is_final=True).complete(DONE),
        "duplicates_f32": StreamCase("four bytes a sample")
        .publish("u1")
        .begin(encoding="pcm_f32le").data(0, bytes(range(8)), _chunk(bytes(range(8))))
        .data(1, bytes(range(12)), _chunk(bytes(range(4, 12)))).complete(CLOSING, DONE),
        "duplicates_mulaw": StreamCase("one byte a sample")
        .publish("u1")
        .begin(encoding="mulaw").data(0, b"abc", _chunk(b"abc")).data(1, b"bcde", _chunk(b"de"))
        .data(5, b"", CLOSING, is_final=True).complete(DONE),
        "all_lost": StreamCase("a Redis that lost everything: the job is published again and begins at 0")
        .publish("u1")
        .begin().audio(0, 5).publish("u1").begin().dropped(0, 3).audio(3, 5, sent(5, 3))
        .audio(8, 1, is_final=True).complete(DONE),
        "published_again": StreamCase("a second end of a job that was published again, or its speech, is skipped")
        .publish("u1", "u2")
        .begin().audio(0, 2, is_final=True).complete(DONE).complete()
        .begin().dropped(0, 2, is_final=True).complete()
        .begin("u2").audio(0, 1, is_final=True).complete(DONE),
        "cancel_then_begin": StreamCase("a cancel of another program: u1 ends, u2 begins; then one that ends no job")
        .publish("u1", "u2")
        .begin().audio(0, 4).flat({"type": "cancel", "upto": f"{_EPOCH - 9}-1"})
        .dropped(4, 2).cancelled(CLOSING, CANCELLED)
        .begin("u2").audio(0, 2).flat({"type": "cancel", "upto": f"{_EPOCH - 9}-1"})
        .begin("u2", at=2).audio(2, 1, is_final=True).complete(DONE),
        "stop": StreamCase("stop mutes at once: every job published so far, and none after it")
        .publish("u1", "u2")
        .begin().segment(0, 0, "Hello there.").audio(0, 4).stop(CLOSING).publish("u3").dropped(4, 4)
        .heard(3, "", 0, True)
        .flat({"type": "cancel", "upto": f"{_EPOCH - 9}-2"}).cancelled(CANCELLED).cancelled(CANCELLED, job="u2")
        .begin("u3").audio(0, 2, is_final=True).complete(DONE),
        "stop_before_audio": StreamCase("a stop before the first chunk: the client waits for no final chunk")
        .publish("u1")
        .begin().stop().dropped(0, 4).cancelled(CANCELLED),
        "stop_too_late": StreamCase("a stop that the end overtakes: the client's speak is answered as cancelled")
        .publish("u1")
        .begin().audio(0, 4).stop(CLOSING).dropped(4, 4).dropped(8, 2, is_final=True).complete(CANCELLED),
        "stop_of_nothing": StreamCase("with ahead_ms 0 all audio was made before the stop: nothing is left to cancel")
        .publish("u1")
        .begin().segment(0, 0, "Hello there.").audio(0, 12).segment(1, 12, "How are you?")
        .audio(12, 12, is_final=True).complete(DONE).stop()
        .heard(18, "Hello there. How", 1, True),
        "heard": StreamCase("what was heard, while the job is spoken and after its end")
        .publish("u1")
        .begin().heard(0, "", None, False).segment(0, 0, "Hello there.").audio(0, 24).heard(10, "Hello", 0, True)
        .segment(1, 24, "How are you today?").audio(24, 36, is_final=True).heard(24, "Hello there.", 0, False)
        .heard(30, "Hello there. How", 1, True).complete(DONE).heard(60, "Hello there. How are you today?", 1, False),
        "unknown_type": StreamCase("entries of a type that this reader does not know are skipped, whatever they hold")
        .publish("u1")
        .flat({"type": "mood", "job_id": "u1", "data": b"\xc1"}).begin()
        .flat({"type": "mood", "job_id": "u1"}).audio(0, 2, is_final=True).flat({"mood": "calm"}).complete(DONE),
        "unreadable_end": StreamCase("an end that cannot be read ends its job as internal, by its flat fields")
        .publish("u1", "u2")
        .begin().audio(0, 2)
        .flat(_BAD | {"type": "complete", "data": b"\xc1"}, CLOSING, UNREADABLE)
        .begin("u2").audio(0, 2, is_final=True).complete(DONE),
        "unreadable_audio": StreamCase("so does any other entry of a known type; what follows of the job is skipped")
        .publish("u1", "u2")
        .begin().audio(0, 2)
        .flat(_BAD | {"type": "audio"}, CLOSING, UNREADABLE)
        .dropped(4, 2).complete()
        .begin("u2").audio(0, 2, is_final=True).complete(DONE),
        "another_type": StreamCase("data of another type than the flat field is unreadable")
        .publish("u1")
        .begin().flat(_BAD | {"type": "cancelled", "data": _complete()}, UNREADABLE),
        "silent": StreamCase("a text with nothing to speak: one empty final chunk")
        .publish("u1")
        .begin().audio(0, 0, is_final=True).complete(DONE, finish="silent"),
        "never_begun": StreamCase("jobs that never began give their end alone")
        .publish("u1", "u2")
        .error(ErrorCode.EXPIRED, _error(ErrorCode.EXPIRED)).cancelled(CANCELLED, job="u2"),
        "failed": StreamCase("an error in the middle: an empty final chunk for the client, then the error")
        .publish("u1")
        .begin().audio(0, 3).error(ErrorCode.TEXT_STALLED, CLOSING, _error(ErrorCode.TEXT_STALLED)),
        "not_ours": StreamCase("jobs that this relay did not publish are skipped")
        .publish("u2")
        .begin().dropped(0, 4).complete().begin("u2").audio(0, 1, is_final=True).complete(DONE),
    }  # fmt: skip


def _chunk(data: bytes) -> dict[str, Any]:
    return {"type": "audio_chunk", "data": base64.b64encode(data).decode(), "is_final": False}


def _error(code: ErrorCode) -> dict[str, Any]:
    return {"type": "error", "code": str(code), "message": str(code)}


def _complete() -> bytes:
    entry = StreamCase("").complete().steps[0]["entry"]
    return base64.b64decode(dict(entry["fields"])["data"]["base64"])
