"""Logging: standard library only, one line an event on stderr, as text or as JSON.

    log = logging.getLogger(__name__)
    log.info("utterance complete", extra={"session_id": ..., "job_id": ..., "samples": ...})

Two rules are enforced here and not left to the callers: what a job says (`extra={"text": ...}`) is shown at
debug level only, and the credentials in a URL never are.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Mapping
from typing import Any, TextIO

from worker.settings import without_password

OURS = ("worker", "schemas")
SPOKEN = ("text", "text_spoken")  # extra fields that hold what a job says

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))} | {
    ord("\n"): "\\n",
    ord("\r"): "\\r",
    ord("\t"): "\\t",
    0x2028: "\\u2028",
    0x2029: "\\u2029",
}


def configure(level: str = "info", log_format: str = "text", stream: TextIO | None = None) -> None:
    """Send our log at this level, and everybody else's warnings, to stderr. May be called again."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines() if log_format == "json" else TextLines())
    root = logging.getLogger()
    for old in [handler for handler in root.handlers if isinstance(handler.formatter, _Lines)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for name in OURS:
        logging.getLogger(name).setLevel(level.upper())
    logging.captureWarnings(True)


class _Lines(logging.Formatter):
    """What both formats share: which fields are shown, and nothing secret in them."""

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
        message = self._message(record).translate(_ESCAPES)  # a job cannot forge a line of the log
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
    """One JSON object a line: time, level, logger, message, the extra fields, and a trace if any."""

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
