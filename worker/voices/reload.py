"""Reloads the voices while utterances run."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from worker.voices.card import Card
from worker.voices.registry import Registry, RegistryError

log = logging.getLogger(__name__)


class VoiceReload:
    """in_use: the current registry. on_change: called on the event loop with the cards of a new one."""

    def __init__(self, registry: Registry, on_change: Callable[[list[Card]], None]) -> None:
        self.in_use = registry
        self._on_change = on_change
        self._is_asked = False
        self._reading: asyncio.Task[None] | None = None

    def ask(self) -> None:
        """Read cards and recordings in a thread. A request during a reload is served by one more reload after it."""
        self._is_asked = True
        if self._reading is None:
            self._reading = asyncio.get_running_loop().create_task(self._read(), name="voices")

    async def _read(self) -> None:
        try:
            while self._is_asked:
                self._is_asked = False
                await self._read_once()
        finally:
            self._reading = None

    async def _read_once(self) -> None:
        try:
            registry = await asyncio.to_thread(self.in_use.reload)
        except RegistryError as error:
            log.error("the voices were not reloaded and the previous ones stay in use: %s", error)
        except Exception:
            log.exception("the voices were not reloaded and the previous ones stay in use")
        else:
            self.in_use = registry
            self._on_change(list(registry))
            log.info("voices reloaded: %s", ", ".join(registry.names))
