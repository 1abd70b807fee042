"""Rows: an utterance's text as the pieces that the engine speaks one after another.

A row is a segment of the text. Where the engine reads a text while it speaks it (a card with `text = "streaming"`), a
row takes segments together up to ROW_WEIGHT, and it can begin before its text is complete.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from worker.text import Lexicon, SegmentText, join
from worker.text.language import language_of
from worker.text.open_text import OpenText

ROW_WEIGHT = 500  # about 35 s of speech, which fits a slot beside the prompt; a wide character counts as two
EARLY_CHARS = 24  # of a row that begins before a segment is decided
_FIRST_WIDE = "\u2e80"


class TextRows(Protocol):
    """Indexed from 0; a row that is known never changes."""

    @property
    def language(self) -> str | None:
        """Of the speech; None until the text's script has decided it."""

    def whole(self, index: int) -> SegmentText | None:
        """The row's complete text; None while it is not known, or where there is no such row."""

    def follows(self, index: int) -> bool | None:
        """Whether the row exists; None while it is not known."""

    def begun(self, index: int) -> str | None:
        """What can be spoken of the row already, up to now; None where it cannot begin yet."""


class KnownRows:
    """The rows of a text that is known whole."""

    def __init__(self, texts: Sequence[SegmentText], language: str) -> None:
        self._texts = texts
        self.language: str | None = language

    def whole(self, index: int) -> SegmentText | None:
        return self._texts[index] if index < len(self._texts) else None

    def follows(self, index: int) -> bool | None:
        return index < len(self._texts)

    def begun(self, index: int) -> str | None:
        row = self.whole(index)
        return None if row is None else row.spoken


class GrowingRows:
    """The rows of a text that is still being written: each segment is one. languages: the voice card's."""

    def __init__(self, text: OpenText, lexicon: Lexicon, languages: Sequence[str] = ()) -> None:
        self._text = text
        self._lexicon = lexicon
        self._languages = languages
        self._began: dict[int, SegmentText] = {}

    @property
    def language(self) -> str | None:
        if self._text.language is None and 0 in self._began:  # at a take-over, before the text's stream has been read
            return language_of(self._began[0].written, self._languages)
        return self._text.language

    def resume(self, began: Mapping[int, str]) -> None:
        """Keep the texts of segments that an earlier attempt began, whatever is left of the text's stream."""
        self._began = {index: SegmentText(text, self._lexicon.apply(text)) for index, text in began.items()}

    def whole(self, index: int) -> SegmentText | None:
        if index in self._began:
            return self._began[index]
        segments = self._text.segments
        return segments[index] if index < len(segments) else None

    def follows(self, index: int) -> bool | None:
        n_known = len(self._text.segments)
        if index < n_known or index in self._began:
            return True
        if self._text.is_complete or self._text.has_more is False:
            return False
        return True if index == n_known and self._text.has_more else None

    def begun(self, index: int) -> str | None:
        row = self.whole(index)
        return None if row is None else row.spoken


class LongRows:
    """Rows of several segments, for an engine that reads a text while it speaks it."""

    def __init__(self, text: OpenText) -> None:
        self._text = text
        self._starts = [0]  # the first segment of each row up to the one that is not closed

    @property
    def language(self) -> str | None:
        return self._text.language

    def whole(self, index: int) -> SegmentText | None:
        self._close()
        n_known = len(self._text.segments)
        if index >= len(self._starts) or self._starts[index] == n_known:
            return None
        is_closed = index + 1 < len(self._starts)
        if not is_closed and not (self._text.is_complete or self._text.has_more is False):
            return None
        start, stop = self._starts[index], self._starts[index + 1] if is_closed else n_known
        return SegmentText(join(self._text.segments[start:stop]), self._text.spoken(start, stop))

    def follows(self, index: int) -> bool | None:
        self._close()
        if index + 1 < len(self._starts) or self._starts[-1] < len(self._text.segments):
            return index < len(self._starts) or (False if self._is_over() else None)
        if self._is_over():
            return False
        return True if index == len(self._starts) - 1 and self._text.has_more else None

    def begun(self, index: int) -> str | None:
        if (row := self.whole(index)) is not None:
            return row.spoken
        if index != len(self._starts) - 1 or self.language is None:
            return None
        start = self._starts[index]
        text = within(self._text.spoken(start), ROW_WEIGHT)
        is_enough = len(self._text.segments) > start or weight(text) >= EARLY_CHARS
        return text if text and is_enough else None

    def _is_over(self) -> bool:
        return self._text.is_complete or self._text.has_more is False

    def _close(self) -> None:
        """Close rows at the first segment's end that reaches ROW_WEIGHT."""
        start = self._starts[-1]
        for stop in range(start + 1, len(self._text.segments) + 1):
            if weight(self._text.spoken(start, stop)) >= ROW_WEIGHT:
                self._starts.append(stop)
                start = stop


def weight(text: str) -> int:
    """The text's length; a wide character counts as two."""
    return sum(2 if char >= _FIRST_WIDE else 1 for char in text)


def within(text: str, most: int) -> str:
    """The longest start of the text of this weight."""
    if 2 * len(text) <= most:
        return text
    for n, char in enumerate(text):
        most -= 2 if char >= _FIRST_WIDE else 1
        if most < 0:
            return text[:n]
    return text
