"""How often a message of one kind is written: a burst of them, then one line that says how many more there were.

A kind is a logger, a level and a message before its arguments are put in: `job %s of session %s: %s`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from threading import RLock
from time import monotonic

BURST = 10
WINDOW_S = 10.0
MOST_KINDS = 500

Kind = tuple[str, int, str]


@dataclass(slots=True)
class _Burst:
    began_at: float
    n: int = 0


class Limiter:
    """Lets 10 messages of a kind through in 10 s. Debug messages are not limited: who asks for them wants them all."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._windows: dict[Kind, _Burst] = {}
        self._lock = RLock()

    def admit(self, record: logging.LogRecord) -> list[logging.LogRecord]:
        """What to write now: the record, or nothing; before it what became known of earlier ones of its kind."""
        if record.levelno <= logging.DEBUG:
            return [record]
        kind = (record.name, record.levelno, str(record.msg))
        now = self._clock()
        with self._lock:
            said = self._end({kind}, now)
            if kind not in self._windows:
                self._make_room(now)
                self._windows[kind] = _Burst(now)
            window = self._windows[kind]
            window.n += 1
            return [*said, record] if window.n <= BURST else said

    def due(self, is_end: bool = False) -> list[logging.LogRecord]:
        """A line for each kind of which more was held back and whose time is over; of every kind at the end."""
        with self._lock:
            return self._end(set(self._windows), self._clock(), is_end)

    def _end(self, kinds: set[Kind], now: float, is_end: bool = False) -> list[logging.LogRecord]:
        said = []
        for kind in [kind for kind in self._windows if kind in kinds]:
            window = self._windows[kind]
            if is_end or now - window.began_at >= WINDOW_S:
                del self._windows[kind]
                if window.n > BURST:
                    said.append(_summary(kind, window.n - BURST, now - window.began_at))
        return said

    def _make_room(self, now: float) -> None:
        """A library may put its arguments in itself: its kinds have no end."""
        if len(self._windows) >= MOST_KINDS:
            quiet = [kind for kind, window in self._windows.items() if window.n <= BURST]
            for kind in quiet or list(self._windows)[:1]:
                del self._windows[kind]


def _summary(kind: Kind, n: int, seconds: float) -> logging.LogRecord:
    name, level, template = kind
    message = "and %d more like it in the last %.0f s: %s"
    return logging.LogRecord(name, level, __file__, 0, message, (n, max(1.0, seconds), template), None)
