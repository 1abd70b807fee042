"""Runs an operator's command with a link to the job plane's Redis, and prints its errors."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from schemas.errors import MakimaError
from worker.commands.terminal import complain, redis_problem
from worker.settings import Settings
from worker.stream.keys import Keys
from worker.stream.transport.address import addresses
from worker.stream.transport.base import Link
from worker.stream.transport.open import open_link
from worker.stream.transport.retry import RedisError


def on_queue(settings: Settings, what: Callable[[Link, Keys], Awaitable[int]]) -> int:
    """Run `what` and return its exit status, or 1 after printing an error."""

    async def connected() -> int:
        link = open_link(addresses(settings)[0])
        try:
            return await what(link, Keys(settings.prefix))
        finally:
            await link.close()

    try:
        return asyncio.run(connected())
    except (RedisError, OSError) as error:
        complain(redis_problem(error))
    except MakimaError as error:
        complain(error)
    return 1
