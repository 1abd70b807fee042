"""A segment's text in pieces: what a natural voice speaks in one call, and the silence after each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from worker.engine.base import Segment
from worker.text.boundary import Language, Rank, is_wide_letter, marks, may_part

MAX_CHARS = 300  # about 60 English words: a call's time and memory grow with its text
FIRST_CHARS = 40  # a longer first sentence begins with a piece of its own, so that sound starts early
MAX_FIRST_CHARS = 48  # of that piece: a clause, else the words before one of _OPENERS
_LEAST_CLAUSE, _LEAST_WORDS = 8, 20  # a shorter piece sounds clipped
_WIDE_CHARS = 1.25  # of a Japanese character: a cut costs Open JTalk's melody more, so only long sentences get one
_OPENER_WORDS = """
    and but or because although even though while whereas if when where who which that to in on at by for from with
    into over under during after before until since so than as
"""  # of a group of English words
_OPENERS = frozenset(_OPENER_WORDS.split())
_BLANKS = re.compile(r"[\s\x00-\x1f\x7f-\x9f\ud800-\udfff]+")  # and what no front-end reads
_SPOKEN = re.compile(r"[^\W_]|[%&@#+=$€£¥°<>*~^|√∞∑≈≠±×÷]")
_language = lru_cache(maxsize=16)(Language)


class Piece(NamedTuple):
    """Text for one call, and the milliseconds of silence after it."""

    text: str
    pause_ms: int


def pieces(segment: Segment) -> list[Piece]:
    """The sentences of a segment. Too long a sentence is cut at a clause, else between words.

    The pauses are those of the voice's card; none follows the last piece.
    """
    text, pauses = _BLANKS.sub(" ", segment.text).strip(), segment.voice.pauses
    pause_ms = {Rank.SENTENCE: pauses.sentence_ms, Rank.CLAUSE: pauses.clause_ms}
    found, at = [], 0
    for end, rank in [*_cuts(text, _language(segment.language)), (len(text), Rank.BLANK)]:
        if _SPOKEN.search(text, at, end):
            found.append(Piece(text[at:end].strip(), pause_ms.get(rank, 0)))
        at = end
    return [*found[:-1], *(piece._replace(pause_ms=0) for piece in found[-1:])]


def _cuts(text: str, language: Language) -> Iterator[tuple[int, Rank]]:
    """Where a piece ends, and why; not the text's end."""
    at = 0
    width = _WIDE_CHARS if is_wide_letter(text[:1]) else 1
    found = marks(text, len(text), language)
    boundaries = [(mark.end, mark.rank) for mark in found if mark.end < len(text)]
    sentences = [end for end, rank in boundaries if rank is Rank.SENTENCE]
    for sentence_end in [*sentences, len(text)]:
        inner = [one for one in boundaries if at < one[0] < sentence_end]
        if at == 0 and sentence_end * width > FIRST_CHARS and (first := _first(inner, text, width)) is not None:
            yield first
            at = first[0]
        while sentence_end - at > MAX_CHARS:
            at, rank = _last_within(inner, at, text)
            yield at, rank
        if sentence_end < len(text):
            yield sentence_end, Rank.SENTENCE
            at = sentence_end


def _first(boundaries: list[tuple[int, Rank]], text: str, width: float) -> tuple[int, Rank] | None:
    """The end of a long first sentence's first piece: its first clause, else the last words that go together."""
    near = [(end, rank) for end, rank in boundaries if end * width <= MAX_FIRST_CHARS]
    for end, rank in near:
        if rank is Rank.CLAUSE and end * width >= _LEAST_CLAUSE:
            return end, rank
    blanks = [end for end, rank in near if rank is Rank.BLANK and end >= _LEAST_WORDS]
    groups = [end for end in blanks if _word_at(text, end) in _OPENERS and _word_before(text, end) not in _OPENERS]
    ends = groups or blanks
    return (ends[-1], Rank.BLANK) if ends else None


def _word_at(text: str, start: int) -> str:
    return text[start : start + 16].partition(" ")[0]


def _word_before(text: str, end: int) -> str:
    return text[max(0, end - 16) : end].split(" ")[-2]


def _last_within(boundaries: list[tuple[int, Rank]], at: int, text: str) -> tuple[int, Rank]:
    """The best cut at most MAX_CHARS after `at`: the last clause in the second half, else the last blank."""
    limit = at + MAX_CHARS
    near = [(end, rank) for end, rank in boundaries if at < end <= limit]
    clauses = [one for one in near if one[1] is Rank.CLAUSE and one[0] > at + MAX_CHARS // 2]
    if near:
        return (clauses or near)[-1]
    ends = (end for end in range(limit, at + 1, -1) if may_part(text[end - 1], text[end]))
    return next(ends, limit), Rank.BLANK
