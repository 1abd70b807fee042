"""Runs commands side by side: `together.py PORT A … -- B …`. B starts when A listens on the port. When one ends, or at
Ctrl-C, all end, the last one first.

Each command is a process group of its own, so that a Ctrl-C reaches it once, as SIGTERM from here.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from itertools import groupby

DRAINED_WITHIN_S = 30


class Stop(Exception):
    """A signal to this process."""


def stop(*_: object) -> None:
    raise Stop


def end(process: subprocess.Popen[bytes]) -> None:
    """Terminate a process; kill it where that takes too long."""
    process.terminate()
    try:
        process.wait(DRAINED_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()


def ended(*more: int) -> os.waitid_result | None:
    """The first command that has ended; waits for one unless `more` is os.WNOHANG."""
    return os.waitid(os.P_ALL, 0, sum((os.WEXITED, os.WNOWAIT, *more)))


def wait_for(port: int) -> None:
    """Return when the port is open, or a command has ended."""
    while ended(os.WNOHANG) is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)


def main(port: int, words: list[str]) -> int:
    """The status of the command that ended first; 0 after a signal."""
    running: list[subprocess.Popen[bytes]] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    try:
        for is_mark, command in groupby(words, lambda word: word == "--"):
            if not is_mark and not (running and ended(os.WNOHANG)):
                running.append(subprocess.Popen(list(command), process_group=0))  # noqa: S603
                wait_for(port)
        first = ended()
    except Stop:
        return 0
    else:
        return first.si_status if first else 0
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        for process in reversed(running):
            end(process)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
