"""Clauses: whether a comma, a colon or a dash ends one. A comma within a date, a place or a name does not."""

from __future__ import annotations

import re

from worker.text.abbreviations import AFTER_A_NAME
from worker.text.sentence_words import CALENDAR
from worker.text.stops import Language, next_word

_LOOKBACK_CHARS = 40
_AFTER_CHARS = 16
_CLOSING = "\"'”’“»«›‹)]}」』）】》〉〕］｝"
_AFTER_A_STOP = re.compile(rf"[.!?…。！？][{re.escape(_CLOSING)}]*\Z")
_YEAR = re.compile(r" (?:\d{4}\b|[A-Z]\.|[A-Z]{2}\b)")  # or a state in letters: N.Z., TX
_LAST_WORDS = re.compile(r"[^\s,]+,? ?[^\s,]*\Z")
_BEGINS_SENTENCE = re.compile(r"(?:\A|\n|[.!?…。！？:—–][\"'”»)\]]* ?)[\"'“„«(\[¿¡]*\Z")
_NAME = re.compile(r"[^\W\d_a-zà-ÿа-я][\w.'-]*\Z")
_TWO_NAMES = re.compile(r"(?:[^\W\d_a-zà-ÿа-я][\w.'-]* ?){1,2}, (?:[^\W\d_a-zà-ÿа-я][\w.'-]* ?){1,2}\Z")
_DATE = re.compile(
    r"([^\W\d_]+)\.? (?:\d{1,2}\w{0,2}|\d{1,2}, \d{4}|(?:de |do )?\d{4})\Z|\d{1,2}\.? ?(?:de )?([^\W\d_]+)\.?\Z"
)
_CALENDAR = frozenset(CALENDAR.split())
_AFTER_A_NAME = frozenset(AFTER_A_NAME.split())


def is_clause(window: str, start: int, end: int, language: Language) -> bool:
    """True when the clause mark from `start` ends a clause. end: the index after it and what closes with it."""
    follows = window[end : end + 1]
    if end > start and window[end - 1] in _CLOSING:
        return False  # "Well," she said
    last = window[end - 1]
    if last in "—–" and _BEGINS_SENTENCE.search(window, max(0, start - 6), start):
        return False  # the dash that opens a dialogue's line, or follows what was said
    if _AFTER_A_STOP.search(window, max(0, start - 3), start):
        return False  # "Where?", she asked; Blue Door Inc., a shop
    if last in "、；—" or (last in "，：" and not follows.isdecimal()):
        return True
    if follows and not follows.isspace() and follows < "\u3040":
        return False
    return last != "," or follows != " " or not _is_within(window, start, end, language)


def _is_within(window: str, start: int, end: int, language: Language) -> bool:
    """True for a comma within a date, a place or a name, or at the end of one."""
    after = window[end : end + _AFTER_CHARS]
    follows = next_word(after)
    if _YEAR.match(after) or follows in _AFTER_A_NAME:
        return True
    begin = max(0, start - _LOOKBACK_CHARS)
    date = _DATE.search(window, begin, start)
    if date and (date[1] or date[2]).lower() in _CALENDAR:
        return True
    if _TWO_NAMES.search(window, begin, start):
        return True
    word = _NAME.search(window, begin, start)
    if word is None:
        return False
    if word[0].lower() in _CALENDAR:
        return follows[:1].isdecimal() or follows.lower() in _CALENDAR
    is_named = follows[:1].isupper() and not language.begins_sentence(follows)
    return is_named and not _BEGINS_SENTENCE.search(window, begin, word.start())
