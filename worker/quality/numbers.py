"""English numbers in digits as words, since a recogniser writes "half past 6" and "2.5" as it likes."""

from __future__ import annotations

import re

_ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_TIME = r"(?P<hour>\d{1,2}):(?P<minute>\d\d)"
_NUMBER = re.compile(_TIME + r"|(?P<whole>\d{1,3}(?:,\d{3})+|\d+)(?:\.(?P<part>\d+))?(?P<percent>%)?")


def spelt_out(text: str) -> str:
    """The text with its numbers of up to six digits, times of day and percentages as words."""
    return _NUMBER.sub(_in_words, text)


def _in_words(match: re.Match[str]) -> str:
    if match["hour"]:
        minute = int(match["minute"])
        shown = _cardinal(minute) if minute > 9 else f"oh {_cardinal(minute)}"
        return f" {_cardinal(int(match['hour']))} {shown if minute else ''} "
    digits = match["whole"].replace(",", "")
    words = _cardinal(int(digits)) if len(digits) <= 6 else _digit_by_digit(digits)
    part = f" point {_digit_by_digit(match['part'])}" if match["part"] else ""
    return f" {words}{part}{' percent' if match['percent'] else ''} "


def _digit_by_digit(digits: str) -> str:
    return " ".join(_ONES[int(digit)] for digit in digits)


def _cardinal(number: int) -> str:
    """0 to 999,999 without "and"."""
    if number < 20:
        return _ONES[number]
    for base, name in ((1000, "thousand"), (100, "hundred")):
        if number >= base:
            rest = number % base
            return f"{_cardinal(number // base)} {name}" + (f" {_cardinal(rest)}" if rest else "")
    return _TENS[number // 10] + (f" {_ONES[number % 10]}" if number % 10 else "")
