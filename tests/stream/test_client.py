"""The client beside the clock of Redis."""

from __future__ import annotations

from tests.conftest import Server
from tests.flow.listening import KEYS
from worker.stream.client import Client
from worker.stream.transport.address import Address


async def test_a_job_published_right_behind_a_cancel_of_all_is_above_it(valkey_server: Server) -> None:
    address = Address(valkey_server.url)
    async with Client(address, address, KEYS) as client:
        for _ in range(50):
            before = await client.publish({"session_id": "s", "text": "before"})
            upto = await client.cancel("s")
            after = await client.publish({"session_id": "s", "text": "after"})
            assert _order(before) < _order(upto) < _order(after)


def _order(entry_id: str) -> tuple[int, ...]:
    return tuple(map(int, entry_id.split("-")))
