"""Rate limit of the log: a burst of messages of one kind, then one line with the number of those held back.

A kind is a logger, a level and a message before its arguments are filled in: `job %s of session %s: %s`.
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
    """Passes 10 messages of a kind in 10 s. Debug messages are not limited: at that level all are wanted."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._windows: dict[Kind, _Burst] = {}
        self._lock = RLock()

    def admit(self, record: logging.LogRecord) -> list[logging.LogRecord]:
        """The records to write now: the summary of an ended burst of this kind, then this record unless limited."""
        if record.levelno <= logging.DEBUG:
            return [record]
        kind = (record.name, record.levelno, str(record.msg))
        now = self._clock()
        with self._lock:
            summaries = self._end({kind}, now)
            if kind not in self._windows:
                self._make_room(now)
                self._windows[kind] = _Burst(now)
            window = self._windows[kind]
            window.n += 1
            return [*summaries, record] if window.n <= BURST else summaries

    def due(self, is_end: bool = False) -> list[logging.LogRecord]:
        """A summary for each kind whose burst has ended, or, with `is_end`, for every kind with messages held back."""
        with self._lock:
            return self._end(set(self._windows), self._clock(), is_end)

    def _end(self, kinds: set[Kind], now: float, is_end: bool = False) -> list[logging.LogRecord]:
        summaries = []
        for kind in [kind for kind in self._windows if kind in kinds]:
            window = self._windows[kind]
            if is_end or now - window.began_at >= WINDOW_S:
                del self._windows[kind]
                if window.n > BURST:
                    summaries.append(_summary(kind, window.n - BURST, now - window.began_at))
        return summaries

    def _make_room(self, now: float) -> None:
        """Bound the number of kinds: a library that fills in its own arguments makes a kind of every message."""
        if len(self._windows) >= MOST_KINDS:
            quiet = [kind for kind, window in self._windows.items() if window.n <= BURST]
            for kind in quiet or list(self._windows)[:1]:
                del self._windows[kind]


def _summary(kind: Kind, n: int, seconds: float) -> logging.LogRecord:
    name, level, template = kind
    message = "and %d more like it in the last %.0f s: %s"
    return logging.LogRecord(name, level, __file__, 0, message, (n, max(1.0, seconds), template), None)
