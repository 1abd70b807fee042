"""Splitting: an utterance's text into segments, which are spoken one after another.

No library that was tried fits: sentence-stream 1.3.0 streams but drops asterisks and does not limit a segment's
length; pysbd 0.3.4 and sentencex 1.0.32 need the whole text at once and do not limit it either.

A cut depends on the text before it and on at most LOOKAHEAD_CHARS after it, never on where a piece of the input ended:
the segments do not depend on how the text was fed. It is decided as soon as the rest is long enough to be a segment and
the word after the mark is known; the first sentence as soon as no word with the next letter changes that it has ended.
Lengths are weights: a wide character (kana, kanji, hangul) takes about as long to speak as two letters and counts as
two, also in max_chars.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from copy import copy
from functools import lru_cache
from itertools import accumulate, islice

from worker.text.beginnings import end_before_word
from worker.text.boundary import LOOKAHEAD_CHARS, Language, Rank, is_wide_letter, known_until, marks, may_part

FIRST_CHARS = 80
MAX_CHARS = 250
_LEAST_FIRST = 16  # shorter than this a first segment sounds clipped
_LEAST = 60  # later segments collect sentences up to this, for an even voice
_PATIENCE = 200  # a quotation or bracket that is longer may be cut at its marks; in a first segment first_chars
_LEAST_REST = 12  # a shorter rest stays with what it follows, except after the sentence that sounds first
_HARD_CUT_SEARCH = 48

_BLANKS = re.compile(r"\s+")
_NOT_SINGLE = re.compile(r"\s\s|[^\S \n]")
_LINE_END = re.compile("[\n\r\x85\u2028\u2029]")
_FIRST_WIDE = "\u2e80"  # CJK radicals; kana, ideographs, hangul syllables, full-width forms and emoji follow
_language = lru_cache(maxsize=16)(Language)


def split(text: str, language: str) -> list[str]:
    """The segments of a whole text, in order. Without blanks, their characters are the text's."""
    splitter = Splitter(language)
    splitter._take(text)
    return splitter.flush()


class Splitter:
    """Takes a text in pieces of any size and returns each segment as soon as it is decided.

    language: an English name such as "English", or "Auto". first_chars: the most of the first segment, which ends at a
    clause if possible, so that sound starts early. max_chars: the most of any segment; at least 40.
    """

    __slots__ = (
        "_blank",
        "_buffer",
        "_first_chars",
        "_is_first",
        "_language",
        "_max_chars",
        "_sums",
        "_window_chars",
    )

    def __init__(self, language: str, first_chars: int = FIRST_CHARS, max_chars: int = MAX_CHARS) -> None:
        if max_chars < 40:
            raise ValueError(f"max_chars is {max_chars}, which would cut words; use 40 or more")
        self._language = _language(language)
        self._first_chars = min(first_chars, max_chars)
        self._max_chars = max_chars
        self._window_chars = max_chars + LOOKAHEAD_CHARS
        self._buffer = ""  # with single blanks, and no blank at either end
        self._blank = ""  # the blank after the buffer: a newline, a blank or nothing
        self._sums = [0]  # the weight of the buffer up to each of its characters
        self._is_first = True

    def feed(self, text: str) -> list[str]:
        """Add a piece of the text; return the segments that are now decided."""
        return self._decided(is_end=False) if self._take(text) else []

    def _take(self, text: str) -> bool:
        """Add a piece of the text; True when it may have decided a segment."""
        body = text.rstrip()
        if not body:
            self._blank = _one_blank(self._blank + text)
            return False
        added = self._blank + body
        if _NOT_SINGLE.search(added):
            added = _BLANKS.sub(lambda blanks: _one_blank(blanks[0]), added)
        self._blank = _one_blank(text[len(body) :])
        added = added if self._buffer else added.lstrip()
        self._buffer += added
        first = self._sums[-1] + 1
        if added.isascii():
            self._sums += range(first, first + len(added))
        else:
            weights = [2 if char >= _FIRST_WIDE else 1 for char in added]
            self._sums += islice(accumulate(weights, initial=first - 1), 1, None)
        return True

    def flush(self) -> list[str]:
        """End the text; return the remaining segments. The splitter can be fed another text afterwards."""
        segments = self._decided(is_end=True)
        self._blank, self._is_first = "", True
        return segments

    @property
    def least_rest(self) -> int:
        """The weight of what must follow a segment before it is decided, beside the word after its mark."""
        return 0 if self._is_first else _LEAST_REST

    @property
    def rest(self) -> str:
        """The text after the last segment."""
        return self._buffer

    def next_with(self, text: str) -> str | None:
        """The segment that this piece of the text would decide, if words follow it; takes nothing."""
        other = copy(self)
        other._sums = self._sums.copy()
        segments = other.feed(text)
        rest = "".join(segments[1:]) + other._buffer
        return segments[0] if segments and any(map(str.isalnum, rest)) else None

    def cut_after(self, segment: str) -> list[str]:
        """Take this segment, which no text that follows changes, although that is not known from the text so far."""
        end = len(segment)
        if self._buffer[:end].replace("\n", " ") != segment:
            return []
        end += self._buffer[end : end + 1].isspace()
        self._buffer, self._sums = self._buffer[end:], self._sums[end:]
        self._is_first = False
        return [segment]

    def _decided(self, *, is_end: bool) -> list[str]:
        segments: list[str] = []
        at = 0
        while text := self._buffer[at : at + self._window_chars]:
            may_grow = len(text) < self._window_chars
            window = _Window(text, self._sums, at)
            cut = self._cut(window, is_whole=is_end and may_grow, is_open=may_grow and not is_end)
            if cut is None:
                break
            segments.append(text[:cut].strip().replace("\n", " "))
            at += cut + text[cut : cut + 1].isspace()
            self._is_first = False
        self._buffer = self._buffer[at:]
        self._sums = self._sums[at:]
        return segments

    def _cut(self, window: _Window, *, is_whole: bool, is_open: bool) -> int | None:
        """Where the window's first segment ends; None while more text may change that.

        is_whole: the text ends with the window. is_open: more text may follow, and the window has room for it.
        """
        n_chars = len(window.text)
        furthest = window.reach(self._max_chars)
        limit = n_chars - LOOKAHEAD_CHARS
        if is_whole or is_open:
            limit = window.reach(window.total - _LEAST_REST)
        if is_open:
            limit = min(limit, known_until(window.text))
        limit = min(limit, furthest)
        sentence_limit = limit
        if self._is_first and (is_open or is_whole):
            sentence_limit = min(furthest, self._known_until(window.text) if is_open else n_chars - 1)
        best, is_decided = self._best(window, limit, sentence_limit)
        if is_decided and not (is_open and best is not None and self._may_end_earlier(window, limit, best)):
            return best
        if furthest == n_chars:
            return n_chars if is_whole else None
        if is_open and limit < furthest:
            return None
        return best if best is not None else _hard_cut(window.text, limit)

    def _may_end_earlier(self, window: _Window, limit: int, end: int) -> bool:
        """True where a longer rest would give a first segment up to a clause that lies before this sentence's end."""
        early = window.reach(self._first_chars)
        if not (self._is_first and end > max(limit, early)):
            return False
        return any(limit < at < end and rank <= Rank.MINOR for at, rank, _ in marks(window.text, end, self._language))

    def _known_until(self, text: str) -> int:
        """The index up to which it is known where sentences end."""
        return max(known_until(text), end_before_word(text, self._language))

    def _best(self, window: _Window, limit: int, sentence_limit: int) -> tuple[int | None, bool]:
        """The best cut up to `limit`, or at a sentence's end up to `sentence_limit`; whether it holds whatever follows.

        A mark inside a quotation or bracket is no better than a blank, unless that opened long before.
        """
        least = window.reach(_LEAST_FIRST if self._is_first else _LEAST)
        early = window.reach(self._first_chars) if self._is_first else -1
        patience = self._first_chars if self._is_first else _PATIENCE
        too_short = window.reach(self._max_chars // 4)
        best: int | None = None
        best_order = (True, Rank.TIGHT, True)
        clause: int | None = None
        clause_rank = Rank.MINOR
        for end, rank, since in marks(window.text, max(limit, sentence_limit), self._language):
            if end > limit and rank is not Rank.SENTENCE:
                continue
            if clause is not None and end > early:
                return clause, True
            is_inside = since >= 0 and window.weight(since, end) <= patience
            if end >= least and not is_inside:
                if rank is Rank.SENTENCE or (rank is Rank.CLAUSE and end > early >= 0):
                    return end, True
                if early >= 0 and rank <= clause_rank:
                    clause, clause_rank = end, rank
            order = (end < too_short, max(rank, Rank.BLANK) if is_inside else rank, rank > Rank.MINOR)
            if order <= best_order:
                best, best_order = end, order
        if best_order[0] and is_wide_letter(window.text[limit : limit + 1]):
            best = None  # a cut between two letters is better than a segment of a few characters
        return (clause, True) if clause is not None and limit >= early else (best, False)


class _Window:
    """The text from which the next segment is cut, with its lookahead, and the weights of its prefixes."""

    __slots__ = ("_from", "_sums", "_until", "text", "total")

    def __init__(self, text: str, sums: list[int], at: int) -> None:
        self.text = text
        self._sums = sums  # of the whole buffer, one more than it has characters
        self._from = at
        self._until = at + len(text) + 1
        self.total = sums[self._until - 1] - sums[at]

    def weight(self, start: int, end: int) -> int:
        """The weight of the characters from `start` to `end`."""
        return self._sums[self._from + end] - self._sums[self._from + start]

    def reach(self, weight: int) -> int:
        """The number of characters whose weight is at most this."""
        at = self._from
        return max(0, bisect_right(self._sums, self._sums[at] + weight, at, self._until) - 1 - at)


def _hard_cut(text: str, limit: int) -> int:
    for end in range(limit, max(1, limit - _HARD_CUT_SEARCH), -1):
        if may_part(text[end - 1], text[end : end + 1]):
            return end
    return max(1, limit)


def _one_blank(blanks: str) -> str:
    return "\n" if _LINE_END.search(blanks) else " " if blanks else ""
