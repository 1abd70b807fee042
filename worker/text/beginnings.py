"""Beginnings: whether a sentence has ended before a word of which only the first letters are known."""

from __future__ import annotations

import re
from functools import lru_cache

from worker.text import abbreviations as known
from worker.text import sentence_words as common
from worker.text.boundary import Rank, is_wide_letter, marks
from worker.text.nesting import NESTING
from worker.text.stops import Language

_REST = " xxxx xxxx xxxx xxxx"
_BEGUN = re.compile(r"[.!?…。！？｡．](?P<blank>[ \n]?)(?P<letters>[^\W\d_]{1,12})\Z")
_MAY_OPEN = re.compile(rf"[{re.escape(NESTING.translate({39: None, 8217: None}))}]|(?<![^\W_])['’]|['’](?![^\W_])")
_AFTER_A_WORD = (" xx", " 1", ". Xx", ".", ",", "'s", "-Xx", ")", "&", "1", " (")
_KINDS = [  # of words that decide about a full stop before them
    common.CALENDAR.title(),
    common.IN_NAMES.title(),
    known.TIME_ZONES,
    known.TIME_ZONE_NAMES,
    known.COMPANY_FORMS,
    known.AFTER_A_NAME,
    "I II V X",
]


def end_before_word(text: str, language: Language) -> int:
    """The index at which a sentence ends before the letters at the text's end, whatever word they begin; or -1."""
    begun = _BEGUN.search(text, max(0, len(text) - 16))
    if begun is None:
        return -1
    end, letters = begun.start("blank"), begun["letters"]
    if is_wide_letter(letters[0]):
        words = [letters]
    elif begun["blank"]:
        words = [letters, *_words(letters, language.first_words)]
    else:
        return -1
    # Many words are tried: where nothing can be open before the stop, what precedes it is not read again.
    start = begun.start() if text[: begun.start()][-1:].isalnum() and not _MAY_OPEN.search(text, 0, end) else 0
    for word in words:
        if not _ends(text[:end] + begun["blank"] + word + _REST, start, end, language):
            return -1
    return end


def _ends(text: str, start: int, end: int, language: Language) -> bool:
    *_, last = [None, *marks(text, end, language, start)]
    return last is not None and last.end == end and last.rank is Rank.SENTENCE


@lru_cache(maxsize=1024)
def _words(letters: str, first_words: frozenset[str]) -> tuple[str, ...]:
    """Texts that may begin with these letters, one of each kind that `Language.goes_on` tells apart."""
    kinds = [*map(str.split, _KINDS), [word.capitalize() for word in sorted(first_words)]]
    found = [next((word for word in kind if word.startswith(letters)), letters) for kind in kinds]
    return tuple(dict.fromkeys([word + after for word in [letters, f"{letters}qx", *found] for after in _AFTER_A_WORD]))
