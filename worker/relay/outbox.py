"""The outbox of one session: what it writes to Redis, in order, each step repeated until Redis has carried it out.

The Redis behind a new connection may be an empty one. So what was written before is written again first, or a later job
would come before the earlier ones.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from worker.relay.planes import RelayPlanes
from worker.stream.transport.retry import PASSING, OutOfMemory, Refusal, backoff_s

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OutboxStep:
    """A step. refused: called when Redis refuses it, which ends it. May be carried out twice after a lost reply."""

    run: Callable[[], Awaitable[None]]
    refused: Callable[[Exception], None]


class Outbox:
    """Carries out one step at a time. Its task runs while there are steps. again: what a new connection begins with."""

    def __init__(self, planes: RelayPlanes, again: OutboxStep) -> None:
        self._planes = planes
        self._again = again
        self._n_breaks = planes.n_breaks  # those behind which everything was written again
        self._steps: deque[OutboxStep] = deque()
        self._task: asyncio.Task[None] | None = None

    def put(self, step: OutboxStep) -> None:
        self._steps.append(step)
        self._start()

    def look(self) -> None:
        """Write again what Redis may have lost, if a connection was lost."""
        if self._is_stale:
            self._start()

    async def close(self) -> None:
        """Drop all steps."""
        task, self._task = self._task, None
        self._steps.clear()
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    @property
    def _is_stale(self) -> bool:
        return self._n_breaks != self._planes.n_breaks

    def _start(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="outbox")

    async def _run(self) -> None:
        try:
            await self._carry_out()
        except Exception:
            log.exception("a session's outbox ended; please report it")
            self._steps.clear()
        self._task = None

    async def _carry_out(self) -> None:
        failures = 0
        while self._is_stale or self._steps:
            is_again, n_breaks = self._is_stale, self._planes.n_breaks
            step = self._again if is_again else self._steps[0]
            try:
                await step.run()
            except (Refusal, *PASSING) as error:
                if isinstance(error, PASSING) and not isinstance(error, OutOfMemory):
                    self._planes.failed(error)
                    await asyncio.sleep(backoff_s(failures))
                    failures += 1
                    continue
                step.refused(error)
            failures = 0
            if is_again:
                self._n_breaks = n_breaks
            else:
                self._steps.popleft()
