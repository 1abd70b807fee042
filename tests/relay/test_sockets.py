"""Golden sockets and golden streams, played to a running relay."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import redis

import schemas
from tests.relay.callers import calling
from tests.relay.playing import play
from tests.relay.relays import Relay

FOLDER = Path(schemas.__file__).parent / "vectors"
SOCKETS = {path.stem: json.loads(path.read_text())["steps"] for path in sorted((FOLDER / "sockets").glob("*.json"))}


@pytest.mark.parametrize("name", SOCKETS)
async def test_a_golden_socket_is_answered_as_it_is_written_there(name: str, relay: Relay, valkey: redis.Redis) -> None:
    async with calling(relay.url) as caller:
        await play(caller, valkey, SOCKETS[name])
