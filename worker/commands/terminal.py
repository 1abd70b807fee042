"""What the commands print: complaints on stderr, tables that survive a pipe, and foreign text made harmless."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.text import Text

from worker.stream.transport.advice import sentence_on
from worker.stream.transport.retry import PASSING

PIPED_WIDTH = 240  # columns: ids must not be broken over lines where a script reads them


def complain(problem: object) -> None:
    """One line on stderr for each line of the problem."""
    for line in str(problem).splitlines():
        print(f"makima-tts: {line}", file=sys.stderr)


def redis_problem(error: Exception) -> str:
    """What went wrong with Redis, what mends it and where to look, in one line."""
    if isinstance(error, PASSING):
        return f"Redis cannot be used: {sentence_on(error)}; see makima-tts doctor"
    return f"Redis refused: {sentence_on(error)}"


def table_console() -> Console:
    """As wide as the terminal, or wide enough for whole ids when there is none."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PIPED_WIDTH)


def foreign(text: object) -> Text:
    """Text that others wrote, as a cell: no markup, and nothing that a terminal would obey."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))
    return Text(shown)
