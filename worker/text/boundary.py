"""Boundaries: where a sentence or a clause ends, decided from a few characters on either side.

Abbreviations depend on the language. In doubt there is no boundary: a long segment costs nothing, a pause after "Dr."
is audible.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from enum import IntEnum

LOOKAHEAD_CHARS = 16  # characters after a mark that may decide whether it is a boundary

_WIDE_STOPS = "。！？｡．"
_QUOTES = "\"'"
_BRACKETS = "”’»)]}」』）】》〉〕］｝"
_CLOSERS = re.escape(_QUOTES + _BRACKETS)
_OPENERS = "\"'“‘«([{「『（¿¡"
_MARK = re.compile(
    rf"(?P<stop>(?:[.!?…{_WIDE_STOPS}]+[{_CLOSERS}]*)+)"
    rf"|(?P<clause>[,;:]+[{_CLOSERS}]*|[，、；：—–]+[{re.escape(_BRACKETS)}]*)|\n| "
)
_LAST_WORD = re.compile(r"[^\s\"'“‘«(\[{「『（/]{1,14}\Z")
_DOTTED = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]")
_MAY_END_SENTENCE = frozenset({"a.m", "p.m"})
_NEVER_FIRST = frozenset(".!?…。！？｡．、，,：:;；~〜～ーぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶ々" + _BRACKETS)
_NEVER_LAST = frozenset("「『（【《〈〔［｛“‘«([{¿¡")
_LOOKBACK_CHARS = 14  # characters looked at for the word before a full stop

_BEFORE_A_NAME = {
    "English": "mr mrs ms mx dr prof rev hon gen sen rep gov col sgt capt lt cmdr st mt ft vs cf viz approx dept",
    "German": "dr prof hr fr frl str bzw ca vgl sog evtl ggf inkl geb gest dipl ing",
    "French": "mm mme mmes mlle dr pr me st ste av bd cf env",
    "Spanish": "sr sra srta dr dra dña ud uds vd vds prof gral av avda",
    "Portuguese": "sr sra srta dr dra prof profa exmo av eng",
    "Italian": "sig sigg dott prof avv ing arch geom on rag",
    "Russian": "г гг ул д стр им проф акад тов см ср св",
}
_BEFORE_A_NUMBER = {
    "English": "no nos art fig figs vol vols ch sec eq p pp par jan feb mar apr jun jul aug sep sept oct nov dec",
    "German": "nr abs abb art bd kap s jan feb apr jun jul aug sept okt nov dez",
    "French": "n no art fig vol ch p pp janv févr avr juil sept oct nov déc",
    "Spanish": "n núm art fig vol cap p pág págs ene feb mar abr jun jul ago sept oct nov dic",
    "Portuguese": "n art fig vol cap p pág págs jan fev mar abr jun jul ago set out nov dez",
    "Italian": "n art fig vol cap p pag pagg gen feb mar apr giu lug ago set ott nov dic",
    "Russian": "рис табл гл п с т",
}


class Rank(IntEnum):
    """Kinds of boundaries, best first."""

    SENTENCE = 0
    CLAUSE = 1
    BLANK = 2


class Language:
    """The abbreviations of one language, or of all languages for Auto."""

    __slots__ = ("_before_a_name", "_before_a_number", "_has_ordinals")

    def __init__(self, name: str) -> None:
        self._before_a_name = _words(_BEFORE_A_NAME, name)
        self._before_a_number = _words(_BEFORE_A_NUMBER, name)
        self._has_ordinals = name == "German"

    def goes_on(self, word: str, follows: str) -> bool:
        """True when a full stop after this word does not end the sentence. follows: the next word's first character."""
        lower = word.lower()
        if _DOTTED.fullmatch(word):
            return lower not in _MAY_END_SENTENCE
        if len(word) == 1 and word.isupper():
            return word != "I"
        if follows.isdecimal():
            return lower in self._before_a_number or lower in self._before_a_name
        return lower in self._before_a_name or (self._has_ordinals and len(word) < 3 and word.isdecimal())


def _words(lists: dict[str, str], language: str) -> frozenset[str]:
    chosen = lists.values() if language == "Auto" else [lists.get(language, "")]
    return frozenset(word for words in chosen for word in words.split())


def marks(window: str, limit: int, language: Language) -> Iterator[tuple[int, Rank]]:
    """The boundaries up to `limit`, in order: (index after the mark, its rank).

    window: text with single blanks; at least LOOKAHEAD_CHARS longer than `limit` unless the text ends with it.
    """
    for mark in _MARK.finditer(window):
        end = mark.end()
        if end > limit:
            return
        follows = window[end : end + 1]
        if follows and joins_on(follows):
            continue
        if mark["stop"] is not None:
            rank = _rank_of_stop(window, mark, language)
        elif mark["clause"] is not None:
            rank = _rank_of_clause(mark, follows)
        elif mark[0] == "\n":
            rank = Rank.BLANK if follows.islower() else Rank.SENTENCE
        else:
            in_number = window[mark.start() - 1].isdecimal() and follows.isdecimal()
            rank = None if in_number else Rank.BLANK
        if rank is not None:
            yield end, rank


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
    if joins_on(after) or before == "\u200d" or after in _NEVER_FIRST or before in _NEVER_LAST:
        return False
    if before.isdecimal():
        return not after.isdecimal()
    return not (after.isdecimal() and before in ".,") and not (_is_flag(before) and _is_flag(after))


def _is_flag(char: str) -> bool:
    return "\U0001f1e6" <= char <= "\U0001f1ff"


def is_wide_letter(char: str) -> bool:
    """True for a letter of a script written without blanks, or of Hangul."""
    return char >= "\u3040" and char.isalnum()


def _rank_of_clause(mark: re.Match[str], follows: str) -> Rank | None:
    if follows in _NEVER_FIRST:
        return None
    last = mark["clause"].rstrip(_QUOTES + _BRACKETS)[-1]
    if last in "、；—" or (last in "，：" and not follows.isdecimal()):
        return Rank.CLAUSE
    return Rank.CLAUSE if not follows or follows.isspace() or is_wide_letter(follows) else None


def _rank_of_stop(window: str, mark: re.Match[str], language: Language) -> Rank | None:
    run, end = mark["stop"], mark.end()
    signs = run.rstrip(_QUOTES + _BRACKETS)
    is_quoted = len(signs) < len(run)
    follows = window[end : end + 1]
    if not follows or follows == "\n":
        return Rank.SENTENCE
    if signs[-1] in _WIDE_STOPS:
        if follows in _NEVER_FIRST:
            return None
        return Rank.CLAUSE if is_quoted and "\u3041" <= follows <= "\u309f" else Rank.SENTENCE
    if follows != " ":
        return _rank_before_wide(window, mark, signs) if is_wide_letter(follows) else None
    first = window[end + 1 : end + 5].lstrip(_OPENERS)[:1]
    if first.islower():
        return Rank.CLAUSE if is_quoted or signs != "." else None
    return None if signs == "." and _is_abbreviation(window, mark.start(), first, language) else Rank.SENTENCE


def _rank_before_wide(window: str, mark: re.Match[str], signs: str) -> Rank | None:
    if signs[-1] == "…":
        return Rank.CLAUSE
    if signs == "." and not is_wide_letter(window[mark.start() - 1 : mark.start()] or "."):
        return None
    return Rank.SENTENCE


def _is_abbreviation(window: str, stop: int, follows: str, language: Language) -> bool:
    word = _LAST_WORD.search(window, max(0, stop - _LOOKBACK_CHARS), stop)
    if word is None:
        return False
    begins_line = word.start() == 0 or window[word.start() - 1] == "\n"
    is_item_number = begins_line and len(word[0]) <= 3 and word[0].isdecimal()
    return is_item_number or language.goes_on(word[0], follows)
