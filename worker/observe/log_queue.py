"""A bounded queue in front of a log file that may block, such as a pipe without a reader.

A caller puts a line into the queue; a thread writes it. Lines that do not fit are dropped and counted. The number is
logged as soon as lines are written again.
"""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic

MOST_LINES = 2000
MOST_CHARS = 1_000_000
LINE_CHARS = 100_000  # a longer line is cut
TICK_S = 1.0
STUCK_S = 0.3  # without a line written: `flush` gives up
FLUSH_S = 2.0  # the most that `flush` waits for a slow reader


class LineQueue:
    """Writes lines in order from a thread, which the first line starts.

    write: may block, raises nothing. note: returns the line that reports a number of dropped lines. on_tick: called
    about once a second from the writing thread.
    """

    def __init__(
        self, write: Callable[[str], None], note: Callable[[int], str], on_tick: Callable[[], None] = lambda: None
    ) -> None:
        self._write = write
        self._note = note
        self._on_tick = on_tick
        self._changed = threading.Condition()
        self._lines: deque[str] = deque()
        self._n_chars = 0
        self._is_writing = False
        self._is_dropping = False  # set by a full queue, cleared when it is half empty
        self._n_unreported = 0
        self._thread: threading.Thread | None = None
        self.n_dropped = 0
        self.n_written = 0

    def put(self, line: str) -> None:
        """Queue a line, or drop it when the queue is full. Never blocks."""
        if len(line) > LINE_CHARS:
            line = line[:LINE_CHARS] + "..."
        with self._changed:
            if self._is_dropping or self._is_full(line):
                self._is_dropping = True
                self.n_dropped += 1
                self._n_unreported += 1
                return
            self._report_dropped()
            self._append(line)
            if self._thread is None or not self._thread.is_alive():  # as after a fork
                self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def flush(self) -> bool:
        """Wait until the queue is empty. False after 0.3 s without progress, or 2 s in all."""
        end = monotonic() + FLUSH_S
        with self._changed:
            while self._lines or self._is_writing:
                before = self.n_written
                self._changed.wait(STUCK_S)
                if self.n_written == before or monotonic() > end:
                    return not (self._lines or self._is_writing)
        return True

    def _write_next(self) -> None:
        with self._changed:
            if not self._lines:
                return
            line = self._lines.popleft()
            self._n_chars -= len(line)
            self._is_writing = True
        self._write(line)
        with self._changed:
            self._is_writing = False
            self.n_written += 1
            if self._is_dropping and len(self._lines) <= MOST_LINES // 2 and self._n_chars <= MOST_CHARS // 2:
                self._is_dropping = False
                self._report_dropped()
            self._changed.notify_all()

    def _is_full(self, line: str) -> bool:
        return len(self._lines) >= MOST_LINES or self._n_chars + len(line) > MOST_CHARS

    def _append(self, line: str) -> None:
        self._lines.append(line)
        self._n_chars += len(line)

    def _report_dropped(self) -> None:
        if self._n_unreported:
            self._append(self._note(self._n_unreported))
            self._n_unreported = 0

    def _run(self) -> None:
        ticked_at = monotonic()
        while True:
            with self._changed:
                if not self._lines:
                    self._changed.wait(TICK_S)
            self._write_next()
            if monotonic() - ticked_at >= TICK_S:
                ticked_at = monotonic()
                self._on_tick()


def write_all(fd: int, data: bytes) -> None:
    """Write to a descriptor, blocking or not. A reader that has gone is ignored."""
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:
            select.select([], [fd], [], TICK_S)
        except OSError:
            return
