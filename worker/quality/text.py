"""Words and characters that are compared between a text and what a recogniser understood, and their alignment.

Spelling that makes no sound is removed on both sides: case, punctuation, English contractions, digits in English.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from worker.quality.numbers import spelt_out

BY_CHARACTER = frozenset({"Japanese", "Chinese", "Korean"})  # written without blanks, or with free ones

_ENDINGS = {"n't": " not", "'ll": " will", "'re": " are", "'ve": " have", "'m": " am", "'d": " would"}
_IRREGULAR = {"won't": "will not", "can't": "can not", "cannot": "can not", "let's": "let us", "ok": "okay"}
_WITH_IS = "it|that|what|there|here|he|she|who|where|how|when"
_CONTRACTION = re.compile(
    rf"\b(?:(?P<irregular>{'|'.join(_IRREGULAR)})|(?P<is>{_WITH_IS})'s)\b|(?P<ending>{'|'.join(_ENDINGS)})\b"
)
_APOSTROPHES = str.maketrans("\u2018\u2019\u02bc\u2032", "''''")


class WrongUnit(NamedTuple):
    """A difference: what the text has and what was recognised. "" for an extra or a missing unit."""

    expected: str
    recognised: str


@dataclass(frozen=True, slots=True)
class Alignment:
    """The fewest differences between a text and what was recognised. n_expected: words or characters of the text."""

    n_expected: int
    wrong: tuple[WrongUnit, ...]

    @property
    def rate(self) -> float:
        """Differences over the text's units: the word error rate or character error rate. May exceed 1."""
        return len(self.wrong) / max(self.n_expected, 1)


def units(text: str, language: str) -> list[str]:
    """The words of a text, or its characters in the languages of BY_CHARACTER, in the form that is compared."""
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).translate(_APOSTROPHES).casefold())
    if language == "English":
        text = spelt_out(_CONTRACTION.sub(_in_full, text))
    if language == "Russian":
        text = text.replace("ё", "е")
    text = text.replace("'", "" if language == "English" else " ")
    words = "".join(char if char.isalnum() or unicodedata.category(char)[0] == "M" else " " for char in text).split()
    return list(unicodedata.normalize("NFC", "".join(words))) if language in BY_CHARACTER else words


def _in_full(match: re.Match[str]) -> str:
    if match["irregular"]:
        return _IRREGULAR[match["irregular"]]
    return f"{match['is']} is" if match["is"] else _ENDINGS[match["ending"]]


def align(expected: Sequence[str], recognised: Sequence[str]) -> Alignment:
    """The alignment with the fewest substituted, missing and extra units (Levenshtein)."""
    table = [list(range(len(recognised) + 1))]
    for n, unit in enumerate(expected, 1):
        row, above = [n], table[-1]
        for m, other in enumerate(recognised, 1):
            row.append(min(above[m] + 1, row[m - 1] + 1, above[m - 1] + (unit != other)))
        table.append(row)
    wrong = []
    n, m = len(expected), len(recognised)
    while n or m:
        if n and m and table[n][m] == table[n - 1][m - 1] + (expected[n - 1] != recognised[m - 1]):
            n, m = n - 1, m - 1
            if expected[n] != recognised[m]:
                wrong.append(WrongUnit(expected[n], recognised[m]))
        elif n and table[n][m] == table[n - 1][m] + 1:
            n -= 1
            wrong.append(WrongUnit(expected[n], ""))
        else:
            m -= 1
            wrong.append(WrongUnit("", recognised[m]))
    return Alignment(len(expected), tuple(reversed(wrong)))
