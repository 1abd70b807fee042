"""The time as those see it who are to do something by the clock; tests bring one of their own."""

from __future__ import annotations

import asyncio
from time import monotonic


class Clock:
    """Monotonic seconds, and waiting for them."""

    def now(self) -> float:
        return monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
