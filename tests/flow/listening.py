"""What the flow tests read of a session's stream and of the queue."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import redis

from schemas.jobs import derived_seed
from schemas.messages import Audio, Begin, Cancelled, Complete, Error, SegmentStart
from schemas.wire import Entry, read_entry
from tests.conftest import REPOSITORY, eventually
from tests.tone import tone
from worker.audio.chain import Chain
from worker.engine.base import Segment
from worker.stream.client import TERMINAL, Client
from worker.stream.keys import Keys
from worker.text import Lexicon, plan
from worker.voices.card import Pauses, load_card

KEYS = Keys()


@dataclass(slots=True)
class Heard:
    """One job as its session heard it."""

    begins: list[tuple[str, Begin]] = field(default_factory=list)
    chunks: list[tuple[str, Audio, Entry]] = field(default_factory=list)
    segments: list[SegmentStart] = field(default_factory=list)
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
        elif isinstance(entry.message, SegmentStart):
            assert speaking == entry.entry
            assert this_epoch == epoch
            assert entry.message.index <= len(job.segments)
            assert entry.delivered == _delivered(job)
            job.segments[entry.message.index :] = [entry.message]
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


async def until_ended(client: Client, session_id: str, n_jobs: int = 1, within_s: float = 30.0) -> None:
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


async def settled(valkey: redis.Redis) -> None:
    await eventually(lambda: valkey.xlen(KEYS.jobs) == 0)
    check_queue_is_empty(valkey)


def replayed(chain: Chain, text: str, entry_id: str | None = None, session_id: str = "s") -> bytes:
    """The samples that an undisturbed worker sends."""
    data = b""
    pieces = plan(text, "English", Lexicon({}))
    card = load_card(REPOSITORY / "voices" / "placeholder")
    for index, piece in enumerate(pieces):
        seed = derived_seed(session_id, entry_id or "") + index
        segment = Segment(piece.spoken, "English", card, seed, 10_000)
        chain.begin_segment(Pauses().after(piece.written) if index < len(pieces) - 1 else None)
        for frame in range((len(piece.spoken) + 1) // 2):
            data += chain.feed(np.asarray(tone(segment, frame)))
        data += chain.end_segment()
    return data + chain.flush()


def check_dead_letter(valkey: redis.Redis, entry_id: str, reason: str) -> None:
    letters: Any = valkey.xrange(KEYS.dead)
    [fields] = [fields for _, fields in letters if fields[b"dead_id"] == entry_id.encode()]
    assert fields[b"dead_reason"] == reason.encode()
