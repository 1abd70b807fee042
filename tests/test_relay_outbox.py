"""The relay's outbox: after a lost connection, what was written before comes before what is written next."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from redis.exceptions import ConnectionError as Disconnected

from worker.relay.outbox import Outbox, OutboxStep
from worker.relay.planes import RelayPlanes


class Planes:
    n_breaks = 0

    def failed(self, error: Exception) -> None: ...


class Written:
    """Steps that note when they were carried out; the first `n_failures` runs of one break the connection."""

    def __init__(self) -> None:
        self.planes = Planes()
        self.order: list[str] = []
        self.outbox = Outbox(cast(RelayPlanes, self.planes), self.step("again"))

    def step(self, name: str, n_failures: int = 0) -> OutboxStep:
        left = n_failures

        async def run() -> None:
            nonlocal left
            if left:
                left -= 1
                self.planes.n_breaks += 1
                raise Disconnected("the connection was lost")
            self.order.append(name)

        def refused(error: Any) -> None:
            raise AssertionError(error)

        return OutboxStep(run, refused)

    async def settled(self) -> list[str]:
        async with asyncio.timeout(20):
            if (task := self.outbox._task) is not None:
                await task
        return self.order


async def test_a_connection_lost_between_two_steps_repeats_before_the_next() -> None:
    written = Written()
    written.outbox.put(written.step("first"))
    assert await written.settled() == ["first"]
    written.planes.n_breaks += 1
    written.outbox.put(written.step("second"))
    assert await written.settled() == ["first", "again", "second"]


async def test_a_connection_lost_in_a_step_repeats_before_the_step_does() -> None:
    written = Written()
    written.outbox.put(written.step("first", n_failures=2))
    assert await written.settled() == ["again", "again", "first"]


async def test_a_look_repeats_once_for_a_lost_connection_and_else_does_nothing() -> None:
    written = Written()
    written.outbox.look()
    written.planes.n_breaks += 1
    for _ in range(3):
        written.outbox.look()
        assert await written.settled() == ["again"]
