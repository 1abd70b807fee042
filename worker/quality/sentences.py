"""The sentences that voices are judged and compared with, by language."""

from __future__ import annotations

import tomllib
from importlib import resources

MAX_SENTENCES = 20


def sentences(language: str, n: int) -> list[str]:
    """The first n sentences of a language."""
    table = tomllib.loads((resources.files("worker.quality") / "sentences.toml").read_text("utf-8"))
    listed: list[str] = table[language]
    return listed[:n]


def long_text(language: str) -> str:
    """A text of several segments: the first four sentences."""
    blank = "" if language in ("Japanese", "Chinese") else " "
    return blank.join(sentences(language, 4))
