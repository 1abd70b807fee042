"""Golden streams through a running relay: what follows an entry is what a golden stream names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgpack
import pytest
import redis

import schemas
from tests.relay.callers import DONE, started
from tests.relay.playing import agrees, plain
from tests.relay.relays import Relay
from tests.relay.scripted import ScriptedWorker

FOLDER = Path(schemas.__file__).parent / "vectors" / "streams"
STREAMS = {path.stem: json.loads(path.read_text())["steps"] for path in sorted(FOLDER.glob("*.json"))}


def rewritten(fields: list[list[Any]], session_id: str, jobs: dict[str, tuple[str, str]]) -> dict[str, Any]:
    """The fields of a golden entry, for the session and the jobs of the relay; other jobs are foreign."""
    read = {name: plain(value) for name, value in fields}
    if "job_id" not in read:
        return read
    entry_id, job_id = jobs.get(read["job_id"], ("1-1", "x1"))
    read |= {"job_id": job_id, "entry": entry_id}
    try:
        message = msgpack.unpackb(read.get("data", b"\xc1"))
    except (ValueError, msgpack.exceptions.UnpackException):
        return read
    return read | {"data": msgpack.packb(message | {"job_id": job_id, "session_id": session_id})}


@pytest.mark.parametrize("name", STREAMS)
async def test_a_golden_stream_is_sent_as_it_is_written_there(name: str, relay: Relay, valkey: redis.Redis) -> None:
    entries = [dict(step["entry"]["fields"]) for step in STREAMS[name] if "entry" in step]
    begins = [msgpack.unpackb(plain(entry["data"])) for entry in entries if entry.get("type") == "begin"]
    async with started(relay.url, encoding=begins[0]["encoding"] if begins else None) as caller:
        worker = ScriptedWorker(valkey, caller.session_id)
        jobs: dict[str, tuple[str, str]] = {}
        for step in STREAMS[name]:
            if "publish" in step:
                if step["publish"] not in jobs:  # a relay publishes again only after a loss
                    await caller.send("speak", text="Hello.")
                    jobs[step["publish"]] = await worker.published(len(jobs) + 1)
            elif "entry" in step:
                fields = rewritten(step["entry"]["fields"], caller.session_id, jobs)
                worker.append(fields, is_begin=fields.get("type") == "begin")
            elif "stop" in step:
                await caller.send("stop")
                await caller.send("mood")  # its answer shows that the stop was read
            refusal = [{"type": "error", "code": "bad_message"}] if "stop" in step else []
            for message in [*step.get("sends", ()), *refusal]:
                found = await caller.receive()
                assert agrees(message, found), (step, found)
        await caller.send("speak", text="And nothing else.")
        await worker.job(len(jobs) + 1)
        worker.complete(len(jobs) + 1)
        assert await caller.receive() == DONE
