"""Logging with the standard library: one line for each event on stderr, as text or as JSON.

    log = logging.getLogger(__name__)
    log.info("utterance complete", extra={"session_id": ..., "job_id": ..., "samples": ...})

Four rules hold for every caller. A job's text (`extra={"text": ...}`) is logged at debug level only. Credentials in a
URL are never logged. No caller waits for stderr (`worker.observe.log_queue`). One kind of message does not fill the log
(`worker.observe.log_limit`).
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from worker.observe.log_limit import Limiter
from worker.observe.log_queue import LineQueue, write_all
from worker.settings import without_password

OURS = ("worker", "schemas")
SPOKEN = ("text", "text_spoken")  # extra fields that hold a job's text

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))} | {
    ord("\n"): "\\n",
    ord("\r"): "\\r",
    ord("\t"): "\\t",
    0x2028: "\\u2028",
    0x2029: "\\u2029",
}


def configure(level: str = "info", log_format: str = "text", stream: TextIO | None = None) -> None:
    """Log this project's messages from this level on, and warnings of other packages. May be called again.

    stream: the calling thread writes to it at once. None: a thread writes to stderr.
    """
    handler = _LogHandler(JsonLines() if log_format == "json" else TextLines(), stream)
    root = logging.getLogger()
    for old in [handler for handler in root.handlers if isinstance(handler, _LogHandler)]:
        old.flush()
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for name in OURS:
        logging.getLogger(name).setLevel(level.upper())
    logging.captureWarnings(True)


def n_dropped() -> int:
    """The number of log lines of this process that were dropped because stderr was not read."""
    return sum(handler.n_dropped for handler in logging.getLogger().handlers if isinstance(handler, _LogHandler))


class _LogHandler(logging.Handler):
    """Formats a message in the calling thread, before its arguments change."""

    def __init__(self, lines: _Lines, stream: TextIO | None) -> None:
        super().__init__()
        self.setFormatter(lines)
        self._limiter = Limiter()
        self._queue: LineQueue | None = None
        self._put: Callable[[str], None]
        stderr = _descriptor() if stream is None else None
        if stderr is None:
            self._stream = stream or sys.stderr
            self._put = self._write_at_once
        else:
            fd = stderr
            self._queue = LineQueue(lambda line: write_all(fd, _bytes(line)), self._note, self._write_summaries)
            self._put = self._queue.put

    @property
    def n_dropped(self) -> int:
        return self._queue.n_dropped if self._queue is not None else 0

    def emit(self, record: logging.LogRecord) -> None:
        for one in self._limiter.admit(record):
            self._put(self._line(one))

    def flush(self) -> None:
        """Write the summaries of all bursts, and wait for the queue unless its reader is stuck."""
        self._write_summaries(is_end=True)
        if self._queue is not None:
            self._queue.flush()

    def _line(self, record: logging.LogRecord) -> str:
        try:
            return self.format(record)
        except Exception as error:  # its arguments do not fit the message, or their __str__ raises
            return self._formatted(logging.ERROR, "a log line of %s cannot be formatted: %r", record.name, error)

    def _note(self, n: int) -> str:
        return self._formatted(logging.WARNING, "%d log lines were dropped: stderr was not read in time", n)

    def _formatted(self, level: int, message: str, *arguments: object) -> str:
        return self.format(logging.LogRecord(__name__, level, __file__, 0, message, arguments, None))

    def _write_summaries(self, is_end: bool = False) -> None:
        for record in self._limiter.due(is_end):
            self._put(self._line(record))

    def _write_at_once(self, line: str) -> None:
        if self._stream is not None:
            self._stream.write(line + "\n")
            self._stream.flush()


def _descriptor() -> int | None:
    """The file descriptor of the process' stderr; None where sys.stderr was replaced, as in tests."""
    stderr = sys.__stderr__
    if stderr is None or sys.stderr is not stderr:
        return None
    try:
        return stderr.fileno()
    except (OSError, ValueError):
        return None


def _bytes(line: str) -> bytes:
    return line.encode("utf-8", "backslashreplace") + b"\n"


class _Lines(logging.Formatter):
    """Shared by both formats: the fields that are logged, without secrets."""

    def _fields(self, record: logging.LogRecord) -> Mapping[str, Any]:
        return {
            name: value
            for name, value in vars(record).items()
            if name not in _STANDARD and (name not in SPOKEN or record.levelno <= logging.DEBUG)
        }

    def _message(self, record: logging.LogRecord) -> str:
        return without_password(record.getMessage())

    def _trace(self, record: logging.LogRecord) -> str | None:
        if not record.exc_info:
            return None
        return without_password(self.formatException(record.exc_info))

    def _time(self, record: logging.LogRecord) -> str:
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        return f"{seconds}.{int(record.msecs):03d}Z"


class TextLines(_Lines):
    """`2026-01-31T12:00:00.123Z INFO worker.service  the message  name=value ...`, a traceback below it."""

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f"  {name}={self._value(value)}" for name, value in self._fields(record).items())
        message = self._message(record).translate(_ESCAPES)  # so that a job cannot forge a log line
        line = f"{self._time(record)} {record.levelname} {record.name}  {message}{fields}"
        trace = self._trace(record)
        return f"{line}\n{trace}" if trace else line

    @staticmethod
    def _value(value: Any) -> str:
        if isinstance(value, float):
            return f"{value:.4g}"
        shown = without_password(str(value)).translate(_ESCAPES)
        return json.dumps(shown, ensure_ascii=False) if not shown or " " in shown else shown


class JsonLines(_Lines):
    """One JSON object for each line: time, level, logger, message, the extra fields, and a trace if any."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": self._time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._message(record),
        }
        for name, value in self._fields(record).items():
            is_plain = value is None or isinstance(value, int | float)
            line.setdefault(name, value if is_plain else without_password(str(value)))
        trace = self._trace(record)
        if trace:
            line["trace"] = trace
        return json.dumps(line, ensure_ascii=False)
