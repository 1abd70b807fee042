"""How a command of an operator is run: with a link to the jobs' Redis, and with every foreseen error in one line."""

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
    """Run it and return its exit status; 1 where Redis cannot be used or refuses."""

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
