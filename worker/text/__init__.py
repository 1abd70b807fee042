"""From a job's text to the segments that an engine speaks: cleaning, splitting, lexicon, frame budget. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from schemas.heard import join_texts
from worker.text.budget import frame_budget
from worker.text.characters import respell_quotes
from worker.text.clean import clean, is_speakable
from worker.text.directions import Actions
from worker.text.lexicon import Lexicon
from worker.text.nesting import respell_reversed
from worker.text.split import Splitter, split

__all__ = [
    "Lexicon",
    "SegmentText",
    "Splitter",
    "clean",
    "frame_budget",
    "is_speakable",
    "join",
    "plan",
    "respelt",
    "split",
]


class SegmentText(NamedTuple):
    """One segment's text. written: cleaned, for `text_spoken`. spoken: with the lexicon applied, for the engine."""

    written: str
    spoken: str


def plan(
    text: str, language: str, lexicon: Lexicon | Mapping[str, str], actions: Actions = "speak"
) -> tuple[SegmentText, ...]:
    """The segments of an utterance, in order, without those that have only punctuation.

    language: an English name such as "English", or "Auto". lexicon: the voice's. actions: the voice's, whether
    *actions* between sentences are spoken. Raises ValueError for a lexicon with an empty word.
    """
    compiled = lexicon if isinstance(lexicon, Lexicon) else _compiled(tuple(lexicon.items()))
    pieces = [respelt(segment, compiled) for segment in split(clean(text, language, actions), language)]
    return tuple(piece for piece in pieces if is_speakable(piece.spoken))


def respelt(segment: str, lexicon: Lexicon) -> SegmentText:
    """A segment as the splitter gives it, with its quotation marks in one spelling, and with the lexicon applied."""
    written = respell_quotes(respell_reversed(segment))
    return SegmentText(written, lexicon.apply(written))


def join(pieces: Sequence[SegmentText]) -> str:
    """The written texts, with a blank between them except after Chinese and Japanese characters."""
    return join_texts([piece.written for piece in pieces])


@lru_cache(maxsize=64)
def _compiled(entries: tuple[tuple[str, str], ...]) -> Lexicon:
    return Lexicon(dict(entries))
