"""Session writers that write to a real server, over a link that loses replies."""

from __future__ import annotations

from hashlib import sha1
from typing import Any

import redis

from schemas.messages import Audio, Complete, SegmentStart
from schemas.wire import pack_codes
from tests.flow.listening import KEYS, Heard, read_session
from worker.stream.begin_request import BeginRequest
from worker.stream.lease import Lease
from worker.stream.session_writer import SessionPlane, SessionWriter
from worker.stream.transport.base import Link, Word
from worker.stream.transport.retry import RetryPolicy

ENTRY = "1700000000000-0"
FAR_FUTURE_MS = 2**52


class LossyLink:
    """A link that loses the answers of commands. `between` runs before the command is sent again."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.loses = ""  # a word of the command, or the SHA of its script
        self.between: Any = None
        self.is_connected = True
        self.n_breaks = 0
        self.scripts: set[str] = set()

    async def call(self, *command: Word) -> Any:
        answer = await self._link.call(*command)
        words = [str(word) for word in command]
        if words[0] == "EVAL":
            words[1] = sha1(words[1].encode()).hexdigest()
        if self.loses and any(self.loses in word for word in words):
            self.loses = ""
            if self.between is not None:
                await self.between()
            raise redis.ConnectionError("the reply was lost")
        return answer

    async def transaction(self, *commands: tuple[Word, ...]) -> list[Any]:
        return await self._link.transaction(*commands)

    async def close(self) -> None:
        await self._link.close()


class Renewals:
    """Renewals of a lease. is_taken: another worker has the job, according to the job plane."""

    lease_s = 1e9

    def __init__(self) -> None:
        self.retry = RetryPolicy("job")
        self.is_taken = False

    async def beat(self, lease: Lease, n_attempts: int | None = None) -> bool:
        return not self.is_taken


REQUEST = BeginRequest("v", "m", 24_000, "pcm_s16le", FAR_FUTURE_MS, 3)


def writer_of(
    link: LossyLink,
    fence: int = 1,
    entry_id: str = ENTRY,
    renewals: Renewals | None = None,
    attempt: int = 1,
    text_key: str | None = None,
) -> SessionWriter:
    lease = Lease(entry_id, attempt, fence, "s", [], 0.0, renewals or Renewals())
    return SessionWriter(SessionPlane(link, KEYS, RetryPolicy("session")), lease, entry_id, text_key)


async def begin(writer: SessionWriter) -> None:
    await writer.begin(REQUEST)


async def write(
    writer: SessionWriter, n_samples: int = 10, is_final: bool = False, segment: tuple[int, str] | None = None
) -> None:
    """segment: index and text of the one that begins."""
    chunk = Audio(
        job_id=writer._job_id,
        session_id="s",
        seq=writer.next_seq,
        pos=writer.delivered,
        data=b"ab" * n_samples,
        is_final=is_final,
    )
    start = None
    if segment is not None:
        index, text = segment
        start = SegmentStart(job_id=writer._job_id, session_id="s", index=index, pos=writer.delivered, text=text)
    await writer.write(chunk, n_samples, pack_codes(0, writer.next_seq, b""), start)


async def end(writer: SessionWriter) -> None:
    await writer.end(
        Complete(
            job_id=writer._job_id,
            session_id="s",
            finish="stop",
            samples=writer.delivered,
            chunks=writer.next_seq,
            audio_ms=1,
            queue_ms=0,
            first_audio_ms=0,
            leading_silence_ms=0,
            rtf=0.1,
            seed=0,
            voice="v",
            model="m",
            text_spoken="",
        )
    )


def heard(valkey: redis.Redis, entry_id: str = ENTRY) -> Heard:
    return read_session(valkey, "s")[entry_id]
