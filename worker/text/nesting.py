"""Nesting: which quotation marks and brackets are open, from the characters beside them.

The same character opens in one language and closes in another: “ opens in English and closes in German „…“, « opens in
French and closes in German »…«. A straight quotation mark does both. A blank before and a letter after it open, the
reverse closes; what else is undecided follows from what is open.
"""

from __future__ import annotations

import re

ALWAYS_CLOSE = ")]}」』）】》〉〕］｝"
ALWAYS_OPEN = "([{「『（【《〈〔［｛„‟‚"
_OF_BOTH_KINDS = "\"'’‘“”«»‹›"
NESTING = ALWAYS_CLOSE + ALWAYS_OPEN + _OF_BOTH_KINDS

_PARTNERS = {
    **dict(zip(")]}」』）】》〉〕］｝", "([{「『（【《〈〔［｛", strict=True)),
    **{'"': '"„“”‟', "'": "'", "‘": "‚", "“": "„‟", "”": "“„‟”", "«": "»", "»": "«", "‹": "›", "›": "‹", "’": "‘‚’"},
}
_BEFORE_AN_OPENING = "([{「『（【《〈〔［｛„“«¿¡—–"
_AFTER_A_CLOSING = ".,;:!?)]}、。，；：！？」』）】》»”"
_ELIDED = ("tis", "twas", "em ", "cause", "til", "n ", "n'", "round", "bout", "cos")


def respell_reversed(segment: str) -> str:
    """The segment without the » of German »…« at its start, where engines take it for the end of what went before."""
    return _REVERSED.sub('"\\1"', segment) if segment.startswith("»") else segment


_REVERSED = re.compile(r"\A»(\w[^«»]*)(?:«|\Z)")


class Nesting:
    """The marks that are open at an index of a text. `take` is called for each mark of NESTING, in order."""

    __slots__ = ("_open", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._open: list[tuple[str, int]] = []

    @property
    def since(self) -> int:
        """The index of the innermost open mark, or -1."""
        return self._open[-1][1] if self._open else -1

    def clear(self) -> None:
        """Close everything, as the end of a paragraph does."""
        self._open.clear()

    def take(self, at: int) -> None:
        """Open or close the mark at this index."""
        char = self._text[at]
        if self.closes(at):
            partners = _PARTNERS.get(char, "")
            for index in range(len(self._open) - 1, -1, -1):
                if self._open[index][0] in partners:
                    del self._open[index:]
                    break
        elif self._opens(at):
            self._open.append((char, at))

    def closes(self, at: int) -> bool:
        """True when the mark at this index closes something."""
        char = self._text[at]
        if char in ALWAYS_CLOSE:
            return True
        if char in ALWAYS_OPEN:
            return False
        before, after = self._text[at - 1] if at else " ", self._text[at + 1 : at + 2]
        opens = before.isspace() or before in _BEFORE_AN_OPENING
        closes = not after or after.isspace() or after in _AFTER_A_CLOSING
        if opens != closes:
            return closes
        if char in "”»›":
            return True
        if char in "'’" and before.isalnum() and after < "\u2e80":
            return False  # an apostrophe
        return char not in "«‹" and any(opened in _PARTNERS[char] for opened, _ in self._open)

    def _opens(self, at: int) -> bool:
        text = self._text
        before, after = text[at - 1] if at else " ", text[at + 1 : at + 2]
        if text[at] in "'’‘":
            is_elided = after.isdecimal() or text[at + 1 : at + 6].lower().startswith(_ELIDED)
            is_in_word = before.isalnum() and after < "\u2e80"
            return after.isalnum() and not is_in_word and not is_elided
        return text[at] not in "([{" or not after.isspace()
