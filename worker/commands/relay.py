"""`relay`: serve WebSocket clients until a signal; and the relay of `dev --web-port`."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AbstractAsyncContextManager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from schemas.errors import MakimaError
from worker.commands.signals import Signals
from worker.loop import freeze_heap, run
from worker.settings import Settings

if TYPE_CHECKING:
    from worker.relay.server import RelayServer


class WebMissing(MakimaError):
    """The extra `web` is not installed."""


def check_web() -> None:
    """Raises WebMissing."""
    if find_spec("websockets") is None:
        raise WebMissing("the relay needs the package websockets", "install it with: pip install 'makima-tts[web]'")


def relay(settings: Settings) -> int:
    """Serve until SIGTERM, SIGINT or SIGHUP has drained it. Returns 1 when it cannot start."""
    try:
        check_web()
        run(_relay(settings))
    except MakimaError as error:
        print(f"makima-tts: {error}", file=sys.stderr)
        return 1
    return 0


def serving(settings: Settings) -> AbstractAsyncContextManager[RelayServer]:
    """A relay while the block runs."""
    from worker.relay.server import RelayServer  # which needs the extra

    return RelayServer(settings).running()


async def _relay(settings: Settings) -> None:
    signals = Signals(ends_on_hangup=True)
    ended = asyncio.Event()
    async with serving(settings) as server:
        signals.listen(ended.set, lambda: None)
        freeze_heap()
        print(f"the relay listens on {server.address}", flush=True)
        await ended.wait()
