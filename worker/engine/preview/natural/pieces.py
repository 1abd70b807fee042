"""A segment's text in pieces: what a natural voice speaks in one call, and the silence after each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from worker.engine.base import Segment
from worker.text.boundary import Language, Rank, marks, may_part

MAX_CHARS = 300  # about 60 English words: a call's time and memory grow with its text
FIRST_CHARS = 40  # a longer first sentence begins with its first clause, so that sound starts early
_LEAST_FIRST = 8  # a shorter clause sounds clipped
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
    boundaries = [(mark.end, mark.rank) for mark in marks(text, len(text), language) if mark.end < len(text)]
    sentences = [end for end, rank in boundaries if rank is Rank.SENTENCE]
    for sentence_end in [*sentences, len(text)]:
        inner = [one for one in boundaries if at < one[0] < sentence_end]
        if at == 0 and sentence_end > FIRST_CHARS:
            clauses = (end for end, rank in inner if rank is Rank.CLAUSE and _LEAST_FIRST <= end <= MAX_CHARS)
            if (clause := next(clauses, None)) is not None:
                yield clause, Rank.CLAUSE
                at = clause
        while sentence_end - at > MAX_CHARS:
            at, rank = _last_within(inner, at, text)
            yield at, rank
        if sentence_end < len(text):
            yield sentence_end, Rank.SENTENCE
            at = sentence_end


def _last_within(boundaries: list[tuple[int, Rank]], at: int, text: str) -> tuple[int, Rank]:
    """The best cut at most MAX_CHARS after `at`: the last clause in the second half, else the last blank."""
    limit = at + MAX_CHARS
    near = [(end, rank) for end, rank in boundaries if at < end <= limit]
    clauses = [one for one in near if one[1] is Rank.CLAUSE and one[0] > at + MAX_CHARS // 2]
    if near:
        return (clauses or near)[-1]
    ends = (end for end in range(limit, at + 1, -1) if may_part(text[end - 1], text[end]))
    return next(ends, limit), Rank.BLANK
