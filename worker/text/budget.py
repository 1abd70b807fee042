"""The frame budget: the most frames of a segment before the engine stops it.

A missing end token must not hold a slot for minutes, and speech must not be cut off. So each character counts with the
longest time that a slow speaker takes for it. The floor and the margin cover what is not in the text: a breath before,
a pause after. The figures are estimates. They exceed what espeak-ng took at 160 words a minute for a few texts of
letters, capitals, digits and symbols in eight of the ten languages.
"""

from __future__ import annotations

FRAME_MS = 80
_FLOOR_MS = 4000
_MARGIN_MS = 2000

_LETTER_MS = 170  # about six letters a second, half of an easy reading pace
_SPELT_MS = 900  # a letter read by its name: a capital, or a Latin letter in a language of another script
_DIGIT_MS = 1500  # 777 is "seven hundred and seventy-seven"
_KANA_MS = 350
_IDEOGRAPH_MS = 1200  # up to five kana: 志 is kokorozashi
_HANZI_MS = 500  # one syllable
_HANGUL_MS = 400
_MARK_MS = 500  # a pause
_SYMBOL_MS = 1200  # % is "percent", ∞ is "infinity"
_BLANK_MS = 100

_SPELLS_LATIN = frozenset({"Japanese", "Chinese", "Korean", "Russian", "Auto"})


def frame_budget(text: str, language: str) -> int:
    """The most frames of 80 ms that a segment may take, at least 75.

    language: an English name such as "English", or "Auto", which counts as the slowest language.
    """
    costs = _SPELT_COSTS if language in _SPELLS_LATIN else _COSTS
    ideograph_ms = _HANZI_MS if language == "Chinese" else _IDEOGRAPH_MS
    text_ms = sum([costs[ord(char)] if char < "\x80" else _cost_ms(char, ideograph_ms) for char in text])
    return -(-(max(text_ms, _FLOOR_MS) + _MARGIN_MS) // FRAME_MS)


def _cost_ms(char: str, ideograph_ms: int) -> int:
    if "\u3041" <= char <= "\u30ff" or "\uff66" <= char <= "\uff9f":
        return _KANA_MS
    if "\u3400" <= char <= "\u9fff" or "\uf900" <= char <= "\ufaff" or char >= "\U00020000":
        return ideograph_ms
    if "\uac00" <= char <= "\ud7a3":
        return _HANGUL_MS
    if char.isalpha():
        return _SPELT_MS if char.isupper() else _LETTER_MS
    if char.isnumeric():
        return _DIGIT_MS
    return _MARK_MS if char in "。、！？「」『』（）…—·・" else _SYMBOL_MS


def _ascii_cost_ms(char: str, letter_ms: int) -> int:
    if char.isdigit():
        return _DIGIT_MS
    if char.isalpha():
        return _SPELT_MS if char.isupper() else letter_ms
    if char.isspace() or char in "\"'":
        return _BLANK_MS
    return _MARK_MS if char in ".,!?;:()-" else _SYMBOL_MS


_COSTS = [_ascii_cost_ms(chr(code), _LETTER_MS) for code in range(128)]
_SPELT_COSTS = [_ascii_cost_ms(chr(code), _SPELT_MS) for code in range(128)]
