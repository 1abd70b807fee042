"""Plays a golden socket to a relay. schemas/golden_socket_case.py lists the steps."""

from __future__ import annotations

import base64
import json
from typing import Any

import redis

from tests.relay.callers import Caller, Json
from tests.relay.scripted import ScriptedWorker


async def play(caller: Caller, valkey: redis.Redis, steps: list[Json]) -> None:
    worker = ScriptedWorker(valkey, "")
    for number, step in enumerate(steps):
        try:
            await _turn(caller, worker, step)
        except Exception as problem:
            problem.add_note(f"step {number}: {json.dumps(step)[:500]}")
            raise


async def _turn(caller: Caller, worker: ScriptedWorker, step: Json) -> None:
    match step:
        case {"client": message}:
            await caller.socket.send(json.dumps(message, ensure_ascii=False))
        case {"client_text": parts}:
            await caller.socket.send("".join(part * times for part, times in parts))
        case {"client_binary": data}:
            await caller.socket.send(plain(data))
        case {"expect": messages}:
            for wanted in messages:
                found = await caller.receive()
                assert agrees(wanted, found), f"{found}, not {wanted}"
                if wanted == {"type": "ready"}:
                    worker.session_id = found["session_id"]
        case {"job": number, "fields": wanted}:
            fields = await worker.job(number)
            assert {name: fields.get(name) for name in wanted} == wanted
        case {"text_of": number, "pieces": pieces}:
            await worker.text(number, pieces)
        case {"worker": number, "writes": writes}:
            for kind, members, *data in writes:
                worker.write(number, kind, plain(members), *(plain(it) for it in data))
        case {"program": number}:
            worker.cancel(number)
        case {"cut": number}:
            await worker.cut(number)
        case {"closed": status}:
            assert await caller.status() == status
        case _:
            raise AssertionError("an unknown step")


def agrees(wanted: Json, found: Json) -> bool:
    """Whether a message is the one that a golden socket names; other members are ignored by clients."""
    if wanted["type" if "type" in wanted else "binary"] == "error" and not found.get("message"):
        return False
    if wanted == {"type": "complete"} and found.get("cancelled", False) is not False:
        return False
    if wanted == {"type": "ready"} and not found.get("session_id"):
        return False
    return all(
        name in found and type(found[name]) is type(value) and found[name] == value for name, value in wanted.items()
    )


def plain(value: Any) -> Any:
    """A value of a golden file, with its bytes as bytes."""
    if isinstance(value, dict) and value.keys() == {"base64"}:
        return base64.b64decode(value["base64"])
    return {name: plain(item) for name, item in value.items()} if isinstance(value, dict) else value
