"""Runs commands side by side: `together.py A … -- B …`. When one ends, or at Ctrl-C, all end, the last one first.

Each command is a process group of its own, so that a Ctrl-C reaches it once, as SIGTERM from here.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
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


def main(words: list[str]) -> int:
    """The status of the command that ended first; 0 after a signal."""
    running: list[subprocess.Popen[bytes]] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    try:
        for is_mark, command in groupby(words, lambda word: word == "--"):
            if not is_mark:
                running.append(subprocess.Popen(list(command), process_group=0))  # noqa: S603
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
    except Stop:
        return 0
    else:
        return ended.si_status if ended else 0
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        for process in reversed(running):
            end(process)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
