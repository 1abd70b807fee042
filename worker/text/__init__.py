"""Text: from what a client wrote to the segments an engine speaks. Pure; no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from worker.text.budget import frame_budget
from worker.text.clean import clean, is_speakable
from worker.text.lexicon import Lexicon
from worker.text.split import Splitter, split

__all__ = ["Lexicon", "Splitter", "clean", "frame_budget", "is_speakable", "plan", "split"]


def plan(text: str, language: str, lexicon: Lexicon | Mapping[str, str]) -> tuple[str, ...]:
    """The segments of an utterance, in order: cleaned, split, respelt; empty when the text says nothing.

    language: an English name such as "English", or "Auto". lexicon: a voice's. A segment that is only punctuation is
    left out. Raises ValueError for a lexicon that cannot be used.
    """
    segments = split(clean(text), language)
    if lexicon:
        compiled = lexicon if isinstance(lexicon, Lexicon) else _compiled(tuple(lexicon.items()))
        segments = [compiled.apply(segment) for segment in segments]
    return tuple(segment for segment in segments if is_speakable(segment))


@lru_cache(maxsize=64)
def _compiled(entries: tuple[tuple[str, str], ...]) -> Lexicon:
    return Lexicon(dict(entries))
