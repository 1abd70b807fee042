"""The clock of periodic tasks, replaceable in tests."""

from __future__ import annotations

import asyncio
from time import monotonic


class Clock:
    """Monotonic time in seconds, and sleep."""

    def now(self) -> float:
        return monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
