"""Full stops: whether the one after a word ends the sentence.

Lists first, then rules, since no list of abbreviations is complete. In doubt the sentence goes on: a long segment costs
nothing, a pause after "Dr." is audible.
"""

from __future__ import annotations

import re

from worker.text import abbreviations as known
from worker.text import sentence_words as common

_LOOKBACK_CHARS = 32  # characters looked at for the words before a full stop
_ITEM_CHARS = 8
_NAMED_BY_LETTERS = "English"  # Chinese, Japanese and Korean have its abbreviations

_OPENERS = "\"'“”‘«»‹›„([{「『（¿¡"
_LAST_WORDS = re.compile(  # with the single letters before it: z. B, J. R. R, U.S.A
    r"(?:(?<![^\s.\"'“‘«„(\[])[^\W\d_]{1,2}\.-? ?){0,4}[^\s\"'“”‘«»„()\[\]{/\u2e80-\uffff]{1,14}\Z"
)
_NEXT = re.compile(rf"\s?(?:[—–-] ?)?[{re.escape(_OPENERS)}]*([^\W_]+(?:[-'’][^\W\d_]*)?|\S?)")
_PART = re.compile(r"[-–]")
_CODE = re.compile(r" (?:[A-Z]{0,3}[ -]?\d|[A-Z]\b)")
_UNIT = re.compile(r"\d ?[^\W\d_]{1,4}\Z")
_NOUN = re.compile(r"(?<![^\s(])([A-ZÄÖÜ][^\W\d_]*[^\W\d_s]|[^\W\d_]+\.) \d\d?\Z")
_DOTTED = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]{1,2}|ph\.d", re.IGNORECASE)
_INITIAL = re.compile(r" [^\W\d_]\.")
_DAY_AND_MONTH = re.compile(r"\d\d?\. ?\d\d?\Z")
_MONTH = re.compile(r" \d\d?\.")
_DAY_AND_WORD = re.compile(r"\b\d\d?\.? [^\W\d_]{3,5}\Z")
_YEAR = re.compile(r" \d{4}\b")
_SHORT_FORM = re.compile(
    rf"(?<!\w)(?:{known.COMPANIES.replace(' ', '|')}|etc|usw|ecc|jr|sr|esq|(?:[^\W\d_]\. ?){{1,3}}[^\W\d_])\.\Z",
    re.IGNORECASE,
)
_ROMAN = re.compile(r"[IVXLC]+")
_VOWELLESS = re.compile(r"[b-df-hj-np-tv-xzßçñбвгджзйклмнпрстфхцчшщ]{2,}")
_ITEM = re.compile(r"(?:\A|\n|[:：;•。！？] ?|[.!?…]['\"”»)\]]* )(?:\d{1,3}|[ivx]{2,4}|[IVX]{2,4}|[a-h])\Z")
_HEADING = re.compile(
    rf"(?:\A|\n|[.!?…]['\"”»)\]]* )(?i:{'|'.join(known.HEADINGS.split())})"
    r" (?:\d{1,3}|[^\W\d_a-zа-я][^\W\d_]{0,11})\Z"
)

_CALENDAR = frozenset(common.CALENDAR.split())
_IN_NAMES = frozenset(common.IN_NAMES.split())
_DOTTED_AT_END = frozenset(known.DOTTED_AT_END.split())
_HALVES_OF_A_DAY = frozenset(known.HALVES_OF_A_DAY.split())
_COMPANIES = frozenset(known.COMPANIES.split())
_COMPANY_FORMS = frozenset(known.COMPANY_FORMS.split())
_TIME_ZONES = frozenset(known.TIME_ZONES.split())
_TIME_ZONE_NAMES = frozenset(known.TIME_ZONE_NAMES.split())
_WITHOUT_VOWELS = frozenset(known.WITHOUT_VOWELS.split())


class Language:
    """The words of one language that decide about a full stop, or of all languages for Auto."""

    __slots__ = ("_before_a_capital", "_before_a_name", "_before_a_number", "_dotted", "_first", "_is_german", "_short")

    def __init__(self, name: str) -> None:
        self._before_a_name = _words(known.BEFORE_A_NAME, name)
        self._before_a_capital = _words(known.BEFORE_A_CAPITAL, name)
        self._before_a_number = _words(known.BEFORE_A_NUMBER, name)
        self._dotted = _words(known.DOTTED, name)
        self._first = _words(common.FIRST_WORDS, name)
        self._short = _words(common.SHORT_AT_END, name)
        self._is_german = name == "German"

    @property
    def first_words(self) -> frozenset[str]:
        """The words that begin a sentence, in small letters."""
        return self._first

    def goes_on(self, window: str, stop: int, after: str) -> bool:
        """True when the full stop at this index of the window does not end its sentence.

        after: what follows the stop and its closing marks, from the blank on.
        """
        begin = max(0, stop - _LOOKBACK_CHARS)
        found = _LAST_WORDS.search(window, begin, stop)
        if found is None:
            return False
        word = found[0].rpartition(" ")[2]
        words = found[0].replace(" ", "")
        word = _PART.split(word)[-1]
        follows = next_word(after)
        if follows == "&" or self._ends_number_of_item(window, stop) or _HEADING.search(window, begin, stop):
            return True
        if word.lower() in _WITHOUT_VOWELS and _UNIT.search(window, begin, stop):
            return False
        if word.isdecimal():
            return self._date_goes_on(window[begin:stop], word, after, follows)
        if follows[:1].isdecimal() or (follows and follows in "+#№§"):
            return self._goes_on_before_a_number(word, words, window[begin:stop], after)
        return self._goes_on_before_a_word(word, words.lower(), after, follows)

    def begins_sentence(self, word: str) -> bool:
        """True for a word with a capital letter that is no name: The, Er, Después."""
        lower = word.lower().replace("’", "'")
        return word[:1].isupper() and (lower in self._first or lower.partition("'")[0] in self._first)

    def _ends_number_of_item(self, window: str, stop: int) -> bool:
        """True for the number that opens a list's item: it begins a line or a sentence, or follows a colon."""
        item = _ITEM.search(window, max(0, stop - _ITEM_CHARS), stop)
        if item is None or item[0][0] != ".":
            return item is not None
        before = _LAST_WORDS.search(window, max(0, item.start() - _LOOKBACK_CHARS), item.start())
        word = before[0].rpartition(" ")[2] if before else ""
        if word.isdecimal():
            return len(word) > 2  # otherwise a date: 5. 6.
        return not self._goes_on_before_a_number(_PART.split(word)[-1], word)

    def _date_goes_on(self, before: str, number: str, after: str, follows: str) -> bool:
        if len(number) > 2:
            return len(number) == 4 and _MONTH.match(after) is not None
        if follows[:1].isdecimal():
            return bool(_MONTH.match(after) or (_DAY_AND_MONTH.search(before) and _YEAR.match(after)))
        if self._is_of_calendar(follows):
            return True
        return self._is_german and not (self.begins_sentence(follows) or self._is_cardinal(before))

    def _is_of_calendar(self, word: str) -> bool:
        """True for a weekday or month, but not for a word that begins a sentence, such as So, a Sunday in German."""
        return len(word) > 2 and word.lower() in _CALENDAR and not self.begins_sentence(word)

    def _is_cardinal(self, before: str) -> bool:
        """True for a number that belongs to the noun or the abbreviation before it: Kapitel 3, Abb. 3."""
        noun = _NOUN.search(before)
        return noun is not None and not self.begins_sentence(noun[1])

    def _goes_on_before_a_number(self, word: str, words: str, before: str = "", after: str = "") -> bool:
        lower = word.lower()
        if lower in self._before_a_number or lower in self._before_a_name or _DOTTED.fullmatch(words):
            return True
        if lower in _CALENDAR and word not in self._short:
            return True
        if _DAY_AND_WORD.search(before) and _YEAR.match(after):
            return True
        can_end = (lower if self._is_german else word) in self._short or lower in _WITHOUT_VOWELS
        if can_end or not word.replace(".", "").isalpha():
            return False
        if len(word) == 1 or lower in self._before_a_capital:
            return word not in "Iя"
        is_street = self._is_german and lower.endswith("str")
        return not word.isupper() and (
            is_street or (len(word) <= 3 and word < "\u0530") or _VOWELLESS.fullmatch(lower) is not None
        )

    def _goes_on_before_a_word(self, word: str, words: str, after: str, follows: str) -> bool:
        lower = word.lower()
        parts = words.split(".")
        ends = {".".join(parts[index:]) for index in range(len(parts) - 1)} or {lower}
        if ends & _HALVES_OF_A_DAY:
            is_zone = after.startswith(" (") or follows in _TIME_ZONES or follows in _TIME_ZONE_NAMES
            return is_zone or self._is_of_calendar(follows)
        if ends & _DOTTED_AT_END or lower in _COMPANIES:
            return follows in _COMPANY_FORMS
        if ends & self._dotted or lower in self._before_a_name:
            return True
        if len(word) == 1 and _INITIAL.match(after):
            return lower != "я"
        if lower in self._before_a_number and (_ROMAN.fullmatch(follows) or _CODE.match(after)):
            return True
        return self._looks_abbreviated(word, lower, follows)

    def _looks_abbreviated(self, word: str, lower: str, follows: str) -> bool:
        if self.begins_sentence(follows) and not (len(word) == 1 and follows.lower() in _IN_NAMES):
            return False
        if len(word) == 1:
            return word not in "Iяèéà" and word.isalpha() and word < "\u0530"
        if lower in self._before_a_capital or _DOTTED.fullmatch(word):
            return True
        if word.isupper():
            return self._is_german and _ROMAN.fullmatch(word) is not None
        return _VOWELLESS.fullmatch(lower) is not None and lower not in _WITHOUT_VOWELS


def ends_in_short_form(text: str) -> bool:
    """True for a text that ends in Ltd., a.m., etc. or another short form that a small letter goes on after."""
    return _SHORT_FORM.search(text) is not None


def next_word(after: str) -> str:
    """The first word of a text without the blank, the dash and the opening marks before it; a mark counts as one."""
    found = _NEXT.match(after)
    return found[1] if found else ""


def _words(lists: dict[str, str], language: str) -> frozenset[str]:
    chosen = lists.values() if language == "Auto" else [lists.get(language) or lists[_NAMED_BY_LETTERS]]
    return frozenset(word for words in chosen for word in words.split())
