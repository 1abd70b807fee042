"""Boundaries: where a sentence or a clause ends, decided from what precedes it and a few characters after it.

In doubt there is no boundary: a long segment costs nothing, a pause inside a sentence is audible.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

from worker.text.clauses import rank_of_clause
from worker.text.nesting import ALWAYS_CLOSE, NESTING, Nesting
from worker.text.quotations import goes_on_after
from worker.text.ranks import Rank
from worker.text.stops import Language, next_word

__all__ = [
    "LOOKAHEAD_CHARS",
    "Boundary",
    "Language",
    "Rank",
    "is_wide_letter",
    "joins_on",
    "known_until",
    "marks",
    "may_part",
]

LOOKAHEAD_CHARS = 16  # characters after a mark that may decide whether it is a boundary

_WIDE_STOPS = "。！？｡．"
_STOPS = ".!?…" + _WIDE_STOPS
_CLAUSES = ",;:，、；：—–"
_MARK = re.compile(rf"[{_STOPS}]+|[{_CLAUSES}]+|[{re.escape(NESTING)}]|\n| ")
_ITEM = re.compile(r"(?:\A|[\s(])(?:\d{1,3}|[^\W\d_])\Z")  # of a list: 1) or (a)
_NEVER_FIRST = frozenset(_STOPS + "、，,：:；;~〜～ーぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶ々»›”’" + ALWAYS_CLOSE)
_NEVER_LAST = frozenset("「『（【《〈〔［｛“‘‚«‹„([{¿¡")
_UNIT_SIGNS = frozenset("°%‰€$£¥₽₩")


class Boundary(NamedTuple):
    """end: the index after the mark and what closes with it. since: where the innermost quotation opened, or -1."""

    end: int
    rank: Rank
    since: int


def marks(window: str, limit: int, language: Language, start: int = 0) -> Iterator[Boundary]:
    """The boundaries up to `limit`, in order.

    window: text with single blanks, in which all is known that a boundary up to `limit` depends on (`known_until`).
    start: the index of the first mark that counts, before which no quotation and no bracket may be open.
    """
    nesting = Nesting(window)
    tight = -1  # the index of a blank at which a pause sounds wrong
    end = start
    while mark := _MARK.search(window, end):
        char, end = mark[0][0], mark.end()
        if end > limit:
            return
        rank: Rank | None = None
        if char in _STOPS:
            signs, end = _run_of_stops(window, mark, nesting)
            if end > limit:
                return
            rank = _rank_of_stop(window, mark.start(), end, signs, language)
            if rank is None:
                tight = end
        elif char in _CLAUSES:
            end = _after_closing(window, end, nesting)
            if end > limit:
                return
            rank = rank_of_clause(window, mark.start(), end, language)
        elif char == "\n":
            nesting.clear()
            rank = Rank.BLANK if window[end : end + 1].islower() else Rank.SENTENCE
        elif char == " ":
            rank = _rank_of_blank(window, end, nesting, is_tight=tight == mark.start())
        else:
            nesting.take(mark.start())
            if char == ")" and _ITEM.search(window, max(0, mark.start() - 5), mark.start()):
                tight = end
        follows = window[end : end + 1]
        if rank is not None and not (follows and (follows in _NEVER_FIRST or joins_on(follows))):
            yield Boundary(end, rank, nesting.since)


def known_until(text: str) -> int:
    """The index up to which no text that follows changes a boundary.

    A boundary depends on the next word and two characters after it. One after a closed quotation depends on all of
    LOOKAHEAD_CHARS, in which a verb of speech may stand.
    """
    start = max(0, len(text) - _TAIL_CHARS)
    words = [word.start() for word in _WORD.finditer(text, start) if word.end() + 2 <= len(text)]
    if not words:
        return start
    end = words[-1]
    while end > start and not text[end - 1].isalnum() and text[end - 1] not in _STOPS + _CLAUSES:
        end -= 1
    closed = [
        mark.start()
        for mark in _CLOSED_STOP.finditer(text, max(0, len(text) - LOOKAHEAD_CHARS - 8))
        if mark.end() > len(text) - LOOKAHEAD_CHARS
    ]
    return min([end, *closed])


_TAIL_CHARS = 64
_WORD = re.compile(r"(?=[^\W_])(?:[\u2e80-\U0010ffff]|[^\W_\u2e80-\U0010ffff]+(?:[-'’][^\W\d_]*)?)")
_CLOSERS = re.escape("".join(sorted(set(NESTING) - _NEVER_LAST | set("«‹“‘"))))
_CLOSED_STOP = re.compile(rf"[{_STOPS}](?:[{_CLOSERS}]| [{_CLOSERS}](?![^\W_]))+")


def _run_of_stops(window: str, mark: re.Match[str], nesting: Nesting) -> tuple[str, int]:
    """The signs of a run of stops, such as ?!, and where it ends with all that closes after it."""
    signs, end = mark[0], _after_closing(window, mark.end(), nesting)
    while more := _MORE_STOPS.match(window, end):
        signs, end = signs + more[0].lstrip(), _after_closing(window, more.end(), nesting)
    return signs, end


_MORE_STOPS = re.compile(rf" ?[{_STOPS}]+")


def _after_closing(window: str, end: int, nesting: Nesting) -> int:
    """Where the closing marks end that follow this index, also after one blank: clé ? »"""
    while end < len(window):
        at = end + (window[end] == " ")
        if at == len(window) or window[at] not in NESTING or not nesting.closes(at):
            break
        if at > end and window[at] in "\"'" and nesting.since < 0:
            break
        nesting.take(at)
        end = at + 1
    return end


def joins_on(char: str) -> bool:
    """True for a character that belongs to the one before it: a combining mark, a joiner, a Hangul vowel or final."""
    if char < "\u0300":
        return False
    return (
        unicodedata.category(char) in ("Mn", "Mc", "Me", "Cf")
        or "\u1160" <= char <= "\u11ff"
        or "\ufe00" <= char <= "\ufe0f"
        or "\U0001f3fb" <= char <= "\U0001f3ff"
    )


def may_part(before: str, after: str) -> bool:
    """True when a cut between these two characters splits neither a number nor a syllable."""
    if joins_on(after) or before == "\u200d" or '"' in (before, after):
        return False
    if after in _NEVER_FIRST or before in _NEVER_LAST:
        return False
    if before.isdecimal():
        return not after.isdecimal()
    return not (after.isdecimal() and before in ".,") and not (_is_flag(before) and _is_flag(after))


def _is_flag(char: str) -> bool:
    return "\U0001f1e6" <= char <= "\U0001f1ff"


def is_wide_letter(char: str) -> bool:
    """True for a letter of a script written without blanks, or of Hangul."""
    return char >= "\u3040" and char.isalnum()


def _rank_of_blank(window: str, end: int, nesting: Nesting, *, is_tight: bool) -> Rank | None:
    before, after = window[end - 2 : end - 1], window[end : end + 1]
    if before.isdecimal() and (after.isdecimal() or after in _UNIT_SIGNS):
        return None
    if before in _NEVER_LAST or (after in NESTING and nesting.closes(end)):
        return None
    return Rank.TIGHT if is_tight or "&" in (before, after) else Rank.BLANK


def _rank_of_stop(window: str, start: int, end: int, signs: str, language: Language) -> Rank | None:
    after = window[end : end + LOOKAHEAD_CHARS]
    is_closed = window[end - 1] not in _STOPS
    if not after or after[0] == "\n":
        return Rank.SENTENCE
    if is_closed and goes_on_after(after):
        return None
    if signs[-1] in _WIDE_STOPS:
        return Rank.SENTENCE
    if after[0] != " ":
        return _rank_before_wide(window[start - 1 : start], signs) if is_wide_letter(after[0]) else None
    if next_word(after)[:1].islower():
        is_broken_off = signs[-1] == "…" or signs[-2:] == ".."
        return Rank.CLAUSE if is_broken_off and after[1:2] not in "—–" else None
    return None if signs == "." and language.goes_on(window, start, after) else Rank.SENTENCE


def _rank_before_wide(before: str, signs: str) -> Rank | None:
    if signs[-1] == "…":
        return Rank.CLAUSE
    if signs == "." and not is_wide_letter(before or "."):
        return None
    return Rank.SENTENCE
