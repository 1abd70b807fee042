"""The steps of one golden socket: what a client sends, what the relay publishes, what a worker writes, what is sent.

Steps, in order:

* `client`: a message that the client sends as JSON. `client_text`: a text frame, a list of [part, times].
  `client_binary`: a binary frame.
* `job`, `fields`: the number-th job that the relay published for this session is in the job stream, with these fields
  and without those that are null.
* `text_of`, `pieces`: the text stream of that job holds exactly these pieces. Cuts within a text do not count.
* `worker`, `writes`: a worker writes these entries for that job; each is [type, members of data beside v, type, job_id
  and session_id], or [type, null, bytes of data]. Number 0 is a job of another program in the same session.
* `program`: another program cancels up to that job, in `cut` and in the audio stream.
* `cut`: the relay has cancelled up to that job.
* `expect`: the next messages that the client receives. A frame of samples is {"binary": …}. `ready` has any
  session_id, an `error` without `message` any message.
* `closed`: the socket is closed with this status.
"""

from __future__ import annotations

import base64
from typing import Any, Self

from schemas.golden_streams import samples

Json = dict[str, Any]

READY = {"type": "ready"}


def of_bytes(data: bytes) -> dict[str, str]:
    return {"base64": base64.b64encode(data).decode()}


def refused(code: str) -> Json:
    return {"type": "error", "code": code}


def heard(utterance: int | None, text: str, is_estimate: bool) -> Json:
    return {"type": "text_heard", "utterance": utterance, "text": text, "is_estimate": is_estimate}


def lit(utterance: int, index: int, pos: int, text: str) -> Json:
    return {"type": "segment", "utterance": utterance, "index": index, "pos": pos, "text": text}


class SocketCase:
    """Builds the steps of one conversation. A worker's methods name the number of the published job."""

    def __init__(self, note: str) -> None:
        self.note = note
        self.steps: list[Json] = []
        self._delivered: dict[int, int] = {}

    def start(self, **members: Any) -> Self:
        return self.client("start", **members).expect(READY)

    def client(self, kind: str, **members: Any) -> Self:
        return self._step(client={"type": kind, **members})

    def speak(self, *texts: str, first: int = 1) -> Self:
        """Speaks, each found in the job stream, as job `first` and those behind it."""
        for number, text in enumerate(texts, first):
            self.client("speak", text=text).job(number, text=text)
        return self

    def raw(self, *parts: str | tuple[str, int]) -> Self:
        return self._step(client_text=[[part, 1] if isinstance(part, str) else list(part) for part in parts])

    def binary(self, data: bytes) -> Self:
        return self._step(client_binary=of_bytes(data))

    def refuses(self, code: str, *texts: str) -> Self:
        """Text frames that are answered with this code."""
        for text in texts:
            self.raw(text).expect(refused(code))
        return self

    def expect(self, *messages: Json) -> Self:
        return self._step(expect=list(messages))

    def job(self, number: int, **fields: str | None) -> Self:
        return self._step(job=number, fields=fields)

    def pieces(self, number: int, *pieces: str | Json) -> Self:
        written = [{"text": piece} if isinstance(piece, str) else piece for piece in pieces]
        return self._step(text_of=number, pieces=written)

    def program_cancels(self, number: int) -> Self:
        return self._step(program=number)

    def cut(self, number: int) -> Self:
        return self._step(cut=number)

    def closed(self, status: int) -> Self:
        return self._step(closed=status)

    def begin(
        self, number: int, at: int = 0, encoding: str = "pcm_s16le", attempt: int = 1, rate: int = 24_000
    ) -> Self:
        self._delivered[number] = at
        return self._write(
            number, "begin", voice="makima", model="preview", sample_rate=rate, encoding=encoding, attempt=attempt,
            resumed_at=at, resumed_by="codes" if at else None,
        )  # fmt: skip

    def segment(self, number: int, index: int, pos: int, text: str) -> Self:
        return self._write(number, "segment", index=index, pos=pos, text=text)

    def audio(self, number: int, first: int, n: int, is_final: bool = False) -> Self:
        self._delivered[number] = max(self._delivered[number], first + n)
        return self._write(number, "audio", seq=0, pos=first, data=of_bytes(samples(first, n)), is_final=is_final)

    def complete(self, number: int, finish: str = "stop") -> Self:
        n = self._delivered[number]
        return self._write(
            number, "complete", finish=finish, samples=n, chunks=1, audio_ms=n // 24, queue_ms=1, first_audio_ms=20,
            leading_silence_ms=0, rtf=0.1, seed=7, voice="makima", model="preview", text_spoken="",
        )  # fmt: skip

    def cancelled(self, number: int) -> Self:
        return self._write(number, "cancelled", samples=self._delivered.get(number, 0), text_spoken=None)

    def error(self, number: int, code: str, message: str, is_retryable: bool = True) -> Self:
        return self._write(number, "error", code=code, message=message, field=None, retryable=is_retryable)

    def spoken(self, number: int, n: int = 4) -> Self:
        """The whole job, in one chunk of n samples."""
        return self.begin(number).audio(number, 0, n, is_final=True).complete(number)

    def unreadable(self, number: int, kind: str, data: bytes = b"\xc1") -> Self:
        return self._append(number, [kind, None, of_bytes(data)])

    def _write(self, number: int, kind: str, **members: Any) -> Self:
        return self._append(number, [kind, members])

    def _append(self, number: int, written: list[Any]) -> Self:
        if not self.steps or self.steps[-1].get("worker") != number:
            self._step(worker=number, writes=[])
        self.steps[-1]["writes"].append(written)
        return self

    def _step(self, **members: Any) -> Self:
        self.steps.append(members)
        return self
