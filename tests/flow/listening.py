"""What the flow tests ask of a session's stream."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import redis

from schemas.messages import Audio, Begin, Cancelled, Complete, Error
from schemas.wire import Entry, read_entry
from worker.stream.client import TERMINAL, Client
from worker.stream.keys import Keys

KEYS = Keys()


@dataclass(slots=True)
class Heard:
    """One job as its session heard it."""

    begins: list[tuple[str, Begin]] = field(default_factory=list)
    chunks: list[tuple[str, Audio, Entry]] = field(default_factory=list)
    ends: list[Any] = field(default_factory=list)

    @property
    def data(self) -> bytes:
        return b"".join(chunk.data for _, chunk, _ in self.chunks)

    @property
    def complete(self) -> Complete:
        assert isinstance(self.ends[0], Complete), self.ends
        return self.ends[0]

    @property
    def error(self) -> Error:
        assert isinstance(self.ends[0], Error), self.ends
        return self.ends[0]

    @property
    def cancelled(self) -> Cancelled:
        assert isinstance(self.ends[0], Cancelled), self.ends
        return self.ends[0]


def read_session(valkey: redis.Redis, session_id: str) -> dict[str, Heard]:
    """Every job on a session's stream by entry id, in the order heard; fails where the contract is broken."""
    heard: dict[str, Heard] = defaultdict(Heard)
    raw: Any = valkey.xrange(KEYS.audio(session_id))
    speaking: str | None = None
    epoch = -1
    for stream_id, fields in raw:
        entry = read_entry(fields)
        this_epoch, n = (int(part) for part in stream_id.decode().split("-"))
        if entry.type == "cancel":
            continue
        job = heard[entry.entry]
        assert entry.message is not None
        assert entry.message.session_id == session_id
        assert not job.ends, "nothing follows a terminal entry"
        if isinstance(entry.message, Begin):
            assert this_epoch > epoch
            assert n == 0
            assert speaking in (None, entry.entry), "two utterances at once"
            assert entry.delivered == entry.message.resumed_at == _delivered(job)
            speaking, epoch = entry.entry, this_epoch
            job.begins.append((stream_id.decode(), entry.message))
        elif isinstance(entry.message, Audio):
            assert speaking == entry.entry
            assert this_epoch == epoch
            assert entry.message.seq == len(job.chunks)
            assert entry.message.pos == _delivered(job)
            job.chunks.append((stream_id.decode(), entry.message, entry))
        else:
            assert entry.type in TERMINAL
            assert entry.delivered >= _delivered(job)
            job.ends.append(entry.message)
            speaking = None
    return heard


def _delivered(job: Heard) -> int:
    return job.chunks[-1][2].delivered if job.chunks else 0


def check_complete(job: Heard, sample_bytes: int = 2) -> None:
    """One complete whose figures agree with the chunks, the last of them marked as final."""
    complete = job.complete
    assert complete.samples * sample_bytes == len(job.data)
    assert complete.chunks == len(job.chunks)
    assert [chunk.is_final for _, chunk, _ in job.chunks] == [False] * (len(job.chunks) - 1) + [True]


async def until_ended(client: Client, session_id: str, n_jobs: int = 1, within_s: float = 10.0) -> None:
    """Return when so many jobs of the session have their terminal entry."""
    async with asyncio.timeout(within_s):
        async for _, entry in client.listen(session_id):
            n_jobs -= entry.type in TERMINAL
            if not n_jobs:
                return


def check_queue_is_empty(valkey: redis.Redis) -> None:
    """No unsettled job and nothing left of settled ones."""
    jobs, ready, delayed, gates, waiting, attempts, *_ = KEYS.job_plane
    left = {
        "jobs": valkey.xlen(jobs),
        "ready": valkey.llen(ready),
        "delayed": valkey.zcard(delayed),
        "gates": valkey.hlen(gates),
        "waiting": valkey.zcard(waiting),
        "attempts": valkey.hlen(attempts),
        "pending": valkey.xpending(jobs, "workers")["pending"],
    }
    assert not any(left.values()), left
