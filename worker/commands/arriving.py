"""Standard input as it arrives: without waiting for lines, and without changing a terminal that others share."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator

from schemas.errors import MakimaError

STDIN = 0
READ_BYTES = 16 * 1024
MAX_WAITING = 8  # reads that nothing has taken yet; then the program that writes the text waits


async def arriving(descriptor: int = STDIN) -> AsyncIterator[bytes]:
    """Yield what each read returns, until the end of the file. Raises MakimaError.

    A thread reads, which no signal and no end of the job has to wait for: it dies with the process.
    """
    loop, room = asyncio.get_running_loop(), threading.Semaphore(MAX_WAITING)
    arrived: asyncio.Queue[bytes | OSError] = asyncio.Queue()

    def read() -> None:
        got: bytes | OSError = b"?"
        while got and not isinstance(got, OSError):
            room.acquire()
            try:
                got = os.read(descriptor, READ_BYTES)
            except OSError as error:
                got = error
            try:
                loop.call_soon_threadsafe(arrived.put_nowait, got)
            except RuntimeError:  # the loop is closed
                return

    threading.Thread(target=read, name="stdin", daemon=True).start()
    while got := await arrived.get():
        if isinstance(got, OSError):
            raise MakimaError(f"standard input cannot be read ({got})", "pipe a text into it") from got
        room.release()
        yield got
