"""Writes texts as an LLM gives them: pieces of bytes on a job's text stream."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Sequence

import redis

from tests.flow.listening import KEYS
from worker.stream.client import Client

STORY = "The first sentence is short. The second one, which is longer, has a clause. And a third ends it."


async def publish_open(client: Client, session_id: str, job_id: str = "u1", **fields: str) -> str:
    """Publish a job whose text is still to come; returns its entry ID."""
    return await client.publish({"session_id": session_id, "text_from": "stream", "job_id": job_id, **fields})


def write(valkey: redis.Redis, session_id: str, *entries: dict[str, str | bytes], job_id: str = "u1") -> None:
    """Append entries to the text's stream, with a TTL as publishers set it."""
    key = KEYS.text(session_id, job_id)
    for entry in entries:
        valkey.xadd(key, entry)  # type: ignore[arg-type]
    valkey.pexpire(key, 600_000)


def cut(text: str, seed: int, most: int = 7) -> list[bytes]:
    """The text's bytes in pieces of 1 to `most`."""
    draw, data, pieces = random.Random(seed), text.encode(), []
    while data:
        n = draw.randint(1, most)
        pieces.append(data[:n])
        data = data[n:]
    return pieces


async def dictate(
    valkey: redis.Redis, session_id: str, pieces: Iterable[bytes], every_s: float = 0.0, job_id: str = "u1"
) -> None:
    """Write pieces at intervals, then the end."""
    for piece in pieces:
        write(valkey, session_id, {"text": piece}, job_id=job_id)
        await asyncio.sleep(every_s)
    write(valkey, session_id, {"end": "1"}, job_id=job_id)


def texts(entries: Sequence[str | bytes]) -> list[dict[str, str | bytes]]:
    return [{"text": entry} for entry in entries]
