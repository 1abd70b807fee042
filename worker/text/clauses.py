"""Clauses: whether a comma, a colon or a dash ends one. A comma within a date, a place or a name does not."""

from __future__ import annotations

import re

from worker.text.abbreviations import AFTER_A_NAME
from worker.text.ranks import Rank
from worker.text.sentence_words import CALENDAR
from worker.text.stops import Language, next_word

_LOOKBACK_CHARS = 40
_AFTER_CHARS = 16
_ITEM = re.compile(r"(?:\A|\n|[。！？：；:，] ?)(?:\d{1,2}|[一二三四五六七八九十]{1,2})\Z")
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


def rank_of_clause(window: str, start: int, end: int, language: Language) -> Rank | None:
    """The rank of the clause mark from `start`, None where no clause ends. end: the index after what closes with it."""
    before, last, follows = window[start - 1 : start], window[end - 1], window[end : end + 1]
    if last in _CLOSING or _AFTER_A_STOP.search(window, max(0, start - 4), start):
        return None  # "Well," she said; "Where?", she asked; Blue Door Inc., a shop
    if last in "—–":
        opens = before == " " and follows.isalpha()  # —Ven —dijo Ana—
        is_opening = last == "–" or opens or _OPENING_DASH.search(window, max(0, start - 6), start)
        return None if is_opening else Rank.CLAUSE
    if last in ",，" and before and (before in _QUOTES or window[end : end + 2] in (" —", " –")):
        return None  # « Viens », dit-il
    if last in "，：、；" and not (before.isdecimal() and follows.isdecimal()):
        is_item = last == "、" and _ITEM.search(window, max(0, start - 4), start)  # 1、
        return None if is_item else Rank.CLAUSE
    if follows and not follows.isspace() and follows < "\u3040":
        return None
    return _rank_of_comma(window, start, end, language) if last == "," and follows == " " else Rank.CLAUSE


def _rank_of_comma(window: str, start: int, end: int, language: Language) -> Rank | None:
    after = window[end : end + _AFTER_CHARS]
    begin = max(0, start - _LOOKBACK_CHARS)
    follows = next_word(after)
    if _YEAR_OR_STATE.match(after) or follows in _AFTER_A_NAME:
        return None
    is_named = follows[:1].isupper() and not language.begins_sentence(follows)
    date = _DATE.search(window, begin, start)
    if (date and (date[1] or date[2]).lower() in _CALENDAR) or _TWO_NAMES.search(window, begin, start):
        return None if is_named else Rank.MINOR
    word = _NAME.search(window, begin, start)
    if word is None:
        return Rank.CLAUSE
    if word[0].lower() in _CALENDAR:
        is_within = follows[:1].isdecimal() or follows.lower() in _CALENDAR
    else:
        is_within = is_named and not _BEGINS_SENTENCE.search(window, begin, word.start())
    return None if is_within else Rank.CLAUSE
