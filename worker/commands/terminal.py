"""Output of the commands: errors on stderr, tables that can be piped, and escaped foreign text."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.text import Text

from worker.stream.transport.advice import sentence_on
from worker.stream.transport.retry import PASSING

PIPED_WIDTH = 240  # columns: ids must not be broken over lines where a script reads them


def complain(problem: object) -> None:
    """Print each line of the problem to stderr, after the program's name."""
    for line in str(problem).splitlines():
        print(f"makima-tts: {line}", file=sys.stderr)


def redis_problem(error: Exception) -> str:
    """A Redis error as one line of problem and remedy."""
    if isinstance(error, PASSING):
        return f"Redis cannot be used: {sentence_on(error)}; run makima-tts doctor for details"
    return f"Redis refused: {sentence_on(error)}"


def table_console() -> Console:
    """A console as wide as the terminal, or wide enough for whole ids without one."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PIPED_WIDTH)


def foreign(text: object) -> Text:
    """Text from others as a table cell: without markup, control characters escaped."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))
    return Text(shown)
