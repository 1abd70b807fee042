"""The clock of a set-up's servers, set forward and back while they run: libfaketime, where it is installed.

Only their wall clock: timers of theirs that use the monotonic one go on as they do.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

PROBE_TIMEOUT_S = 3.0


class MissingClock(RuntimeError):
    """No clock can be set here; the message says why."""


class Clock:
    """What to start a server with so that it shows another time. Raises MissingClock for a program that cannot bear it.

    folder: for the file that says how far ahead it is.
    """

    def __init__(self, folder: Path, program: str) -> None:
        self._file = folder / "clock"
        self.ahead_s = 0.0
        self.set_ahead(0.0)
        library = _library()
        self.environment: Mapping[str, str] = {
            "LD_PRELOAD": library,
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",  # as older releases name it
        }
        _probe(program, self.environment)

    def set_ahead(self, seconds: float) -> None:
        """From now on the clock is so far ahead; 0: right."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+.0f}s\n")
        new.rename(self._file)  # a reader must never find it empty
        self.ahead_s = seconds


def _library() -> str:
    program = shutil.which("faketime")
    if program is None:
        raise MissingClock("faketime is not installed")
    words = [program, "-m", "-f", "+0s", "printenv", "LD_PRELOAD"]
    asked = subprocess.run(words, capture_output=True, text=True, check=False, timeout=PROBE_TIMEOUT_S)
    if asked.returncode:
        raise MissingClock(f"faketime does not run: {asked.stderr.strip()[-200:]}")
    return asked.stdout.strip()


def _probe(program: str, environment: Mapping[str, str]) -> None:
    """Debian's redis-server does not even tell its version: its jemalloc and libfaketime wait for one another."""
    try:
        told = subprocess.run(
            [program, "--version"],
            env={**os.environ, **environment},
            capture_output=True,
            check=False,
            timeout=PROBE_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        raise MissingClock(f"{Path(program).name} hangs under libfaketime") from None
    if told.returncode:
        raise MissingClock(f"{Path(program).name} does not start under libfaketime (its malloc clashes with it)")
