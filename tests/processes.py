"""What tests of other processes need: who runs, who is whose child, and waiting until something is so."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def children_of(pid: int, program: str = "") -> list[int]:
    """Every process whose parent is `pid`, zombies included. program: only those with this in their command line."""
    listing = subprocess.run(["ps", "-A", "-ww", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True)
    rows = (line.split(maxsplit=2) for line in listing.stdout.splitlines())
    return [int(child) for child, parent, *command in rows if int(parent) == pid and program in "".join(command)]


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def is_stopped(pid: int) -> bool:
    """Whether SIGSTOP has stopped every thread of the process; the signal takes effect some time after `kill`."""
    shown = subprocess.run(["ps", "-L", "-o", "state=", "-p", str(pid)], capture_output=True, text=True, check=True)
    return set(shown.stdout.split()) == {"T"}


def resident_kb(pid: int) -> int:
    shown = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=True)
    return int(shown.stdout)


def n_descriptors() -> int:
    """Open file descriptors of this process."""
    return sum(1 for _ in Path("/dev/fd").iterdir())


def until(is_so: Callable[[], bool], within_s: float = 20.0) -> bool:
    """Wait until something is so; False when it did not come about in time."""
    end_s = time.monotonic() + within_s
    while not is_so() and time.monotonic() < end_s:
        time.sleep(0.005)
    return is_so()


@contextmanager
def full_pipe() -> Iterator[int]:
    """The end to write to of a pipe that is full and that nobody reads."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, b"x")
    os.set_blocking(writer, True)
    try:
        yield writer
    finally:
        os.close(writer)
        os.close(reader)
