"""Clauses: whether a comma, a colon or a dash ends one. A comma within a date, a place or a name does not."""

from __future__ import annotations

import re

from worker.text.abbreviations import AFTER_A_NAME
from worker.text.sentence_words import CALENDAR
from worker.text.stops import Language, next_word

_LOOKBACK_CHARS = 40
_AFTER_CHARS = 16
_QUOTES = "\"'”’“»«›"
_CLOSING = _QUOTES + "‹)]}」』）】》〉〕］｝"
_AFTER_A_STOP = re.compile(rf"[.!?…。！？][{re.escape(_CLOSING)}]* ?\Z")
_OPENING_DASH = re.compile(r"(?:\A|\n|[.!?…。！？,:—–][\"'”»)\]]* ?)[\"'“„«(\[¿¡]*\Z")
_BEGINS_SENTENCE = re.compile(r"(?:\A|\n|[.!?…。！？:—–][\"'”»)\]]* ?)[\"'“„«(\[¿¡]*\Z")
_YEAR_OR_STATE = re.compile(r" (?:\d{4}\b|[A-Z][a-z]{0,4}\.|[A-Z]{2}\b)")  # 2021, N.Z., Minn., TX
_CAPITAL = r"[^\W\d_a-zà-ÿа-я][\w.'-]*"
_NAME = re.compile(rf"{_CAPITAL}\Z")
_TWO_NAMES = re.compile(rf"(?:{_CAPITAL} ?){{1,2}}, (?:{_CAPITAL} ?){{1,2}}\Z")
_DATE = re.compile(
    r"([^\W\d_]+)\.? (?:\d{1,2}\w{0,2}|\d{1,2}, \d{4}|(?:de |do )?\d{4})\Z|\d{1,2}\.? ?(?:de )?([^\W\d_]+)\.?\Z"
)
_CALENDAR = frozenset(CALENDAR.split())
_AFTER_A_NAME = frozenset(AFTER_A_NAME.split())


def is_clause(window: str, start: int, end: int, language: Language) -> bool:
    """True when the clause mark from `start` ends a clause. end: the index after it and what closes with it."""
    before, last, follows = window[start - 1 : start], window[end - 1], window[end : end + 1]
    if last in _CLOSING or _AFTER_A_STOP.search(window, max(0, start - 4), start):
        return False  # "Well," she said; "Where?", she asked; Blue Door Inc., a shop
    if last in "—–":
        opens = before == " " and follows.isalpha()  # —Ven —dijo Ana—
        return last == "—" and not opens and not _OPENING_DASH.search(window, max(0, start - 6), start)
    if last in ",，" and (before in _QUOTES or window[end : end + 2] in (" —", " –")):
        return before == ""  # « Viens », dit-il
    if last in "、；" or (last in "，：" and not follows.isdecimal()):
        return True
    if follows and not follows.isspace() and follows < "\u3040":
        return False
    return last != "," or follows != " " or not _is_within(window, start, end, language)


def _is_within(window: str, start: int, end: int, language: Language) -> bool:
    """True for a comma within a date, a place or a name, or at the end of one."""
    after = window[end : end + _AFTER_CHARS]
    begin = max(0, start - _LOOKBACK_CHARS)
    follows = next_word(after)
    date = _DATE.search(window, begin, start)
    if (date and (date[1] or date[2]).lower() in _CALENDAR) or _TWO_NAMES.search(window, begin, start):
        return True
    if _YEAR_OR_STATE.match(after) or follows in _AFTER_A_NAME:
        return True
    word = _NAME.search(window, begin, start)
    if word is None:
        return False
    if word[0].lower() in _CALENDAR:
        return follows[:1].isdecimal() or follows.lower() in _CALENDAR
    is_named = follows[:1].isupper() and not language.begins_sentence(follows)
    return is_named and not _BEGINS_SENTENCE.search(window, begin, word.start())
