"""`relay`: serve WebSocket clients until a signal; and the relay of `dev --web-port`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec

from schemas.errors import MakimaError
from worker.commands.signals import Signals
from worker.loop import freeze_heap, run
from worker.settings import Settings


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


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[str]:
    """A relay while the block runs; yields its page's address."""
    from worker.relay.server import RelayServer

    async with RelayServer(settings).running() as address:
        yield address


async def _relay(settings: Settings) -> None:
    signals = Signals(ends_on_hangup=True)
    ended = asyncio.Event()
    async with serving(settings) as address:
        signals.listen(ended.set, lambda: None)
        freeze_heap()
        print(f"the relay listens on {address}", flush=True)
        await ended.wait()
