"""`worker` and `dev`: run the service until a signal ends it."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, NoReturn

from schemas.errors import MakimaError
from worker.commands.relay import WebMissing, check_web, serving
from worker.commands.signals import Signals
from worker.embedded import EmbeddedError, embedded_valkey
from worker.engine.base import EngineSick
from worker.engine.choose import make_engine
from worker.loop import freeze_heap, run
from worker.observe.health import HealthServer
from worker.observe.tracing.setup import tracing_from
from worker.service import Worker
from worker.settings import Settings
from worker.stream.transport.advice import sentence_on
from worker.stream.transport.retry import Refusal

if TYPE_CHECKING:
    from worker.relay.server import RelayServer

log = logging.getLogger(__name__)

SICK = (
    "the speech engine cannot continue, so this worker ends and other workers take over its jobs: %s; let a supervisor "
    "restart it, and if this repeats, check the GPU with nvidia-smi and look for Xid in the kernel's log"
)

UNEXPECTED = "the worker ended with an unexpected error; please report it"

TRY_IT = """\
Valkey listens on port {port}, and a preview worker serves it. Try in another terminal:

  redis-cli -p {port} XADD 'makima:{{speak}}:jobs' '*' session_id s1 text 'Hello, I am Makima.'
  redis-cli -p {port} XREAD COUNT 1 BLOCK 2000 STREAMS 'makima:{{s1}}:audio' 0
  redis-cli -p {port} XREVRANGE 'makima:{{s1}}:audio' + - COUNT 1
  makima-tts speak 'Hello again.' --redis-url redis://127.0.0.1:{port}/0 --out hello.wav
  makima-tts cancel s1 --redis-url redis://127.0.0.1:{port}/0

Ctrl-C ends both.
"""


def serve(
    settings: Settings, ends_on_hangup: bool = False, with_relay: bool = False, ends_process: bool = False
) -> int:
    """Run a worker until SIGTERM or SIGINT has drained it. Returns 1 when it cannot start or its engine is sick.

    ends_on_hangup: SIGHUP drains the worker too, instead of reloading the voices. with_relay: serve its page beside it.
    ends_process: with a sick engine the process ends here, with status 1.
    """
    sys.setswitchinterval(0.001)  # by default engine and event loop may wait 5 ms for each other
    try:
        run(_serve(settings, ends_on_hangup, with_relay))
    except EngineSick as error:
        log.error(SICK, error)
        if ends_process:
            _end_process(1)
        return 1
    except MakimaError as error:
        log.error("the worker cannot start: %s", error)
        return 1
    except ExceptionGroup as group:
        refusals, rest = group.split(Refusal)
        if refusals is None or rest is not None:
            log.exception(UNEXPECTED)
        else:
            log.error("Redis refuses a command that every worker needs: %s", sentence_on(refusals.exceptions[0]))
        return 1
    except Exception:
        log.exception(UNEXPECTED)  # to the log: stderr may not be read
        return 1
    return 0


def _end_process(status: int) -> NoReturn:
    """End without the interpreter's teardown, which takes a second with torch loaded and may hang on a broken GPU."""
    logging.shutdown()
    os._exit(status)


async def _serve(settings: Settings, ends_on_hangup: bool, with_relay: bool) -> None:
    signals = Signals(ends_on_hangup)
    tracing = tracing_from()
    worker = Worker(settings, make_engine(settings), tracing=tracing)
    async with AsyncExitStack() as stack:
        if settings.health_port is not None:
            stack.enter_context(HealthServer(worker, worker.metrics, settings.health_port, settings.health_host))
        if with_relay:
            relay = await stack.enter_async_context(serving(settings))
            worker.on_ready = lambda: _begin(lambda: _listen_for_both(signals, worker, relay))
        else:
            worker.on_ready = lambda: _begin(lambda: signals.listen(worker.stop, worker.reload_voices))
        await worker.run()


def _begin(listen: Callable[[], None]) -> None:
    """The last of the start: everything is loaded and warm, and no job is taken yet."""
    freeze_heap()
    listen()


def _listen_for_both(signals: Signals, worker: Worker, relay: RelayServer) -> None:
    """At a signal the relay leaves its sessions, and then the worker, which has nothing left to finish, drains."""
    draining: list[asyncio.Task[None]] = []

    async def drain() -> None:
        try:
            await relay.drain()
        finally:
            worker.stop()

    signals.listen(lambda: draining.append(asyncio.create_task(drain())), worker.reload_voices)
    print(f"The page is ready: {relay.address}", flush=True)


def dev(port: int, settings_for: Callable[[str], Settings], with_relay: bool = False) -> int:
    """Run an embedded Valkey on this port and a worker on it, until a signal; and a relay with its page."""
    try:
        if with_relay:
            check_web()
        with embedded_valkey(port) as valkey:
            settings = settings_for(valkey.url)
            print(TRY_IT.format(port=valkey.port), flush=True)
            return serve(settings, ends_on_hangup=True, with_relay=with_relay)
    except (EmbeddedError, WebMissing) as error:
        print(f"makima-tts: {error}", file=sys.stderr)
        return 1
