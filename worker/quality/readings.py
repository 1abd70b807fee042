"""Japanese as it sounds, so that a text and a recognition that write a word in kanji and in kana are equal.

The readings come from pyopenjtalk-plus (the extra `preview-ja`), which has its dictionary inside. Without it the
characters are compared as they are written.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from worker.quality.text import units

PACKAGE = "pyopenjtalk-plus"
_LONG = str.maketrans({"ヲ": "オ", "ヅ": "ズ", "ヂ": "ジ"})


def compared_units(text: str, language: str) -> list[str]:
    """The units of a text in the form that is compared: Japanese as katakana where readings can be made."""
    reading = _reader() if language == "Japanese" else None
    if reading is None:
        return units(text, language)
    return units(reading(text).translate(_LONG), language)


def unit_name(language: str) -> str:
    """What is compared in a language: words, characters, or the kana of readings."""
    if language == "Japanese" and _reader() is not None:
        return "kana of readings"
    return "characters" if units("無理", language) == ["無", "理"] else "words"


@cache
def _reader() -> Callable[[str], str] | None:
    try:
        from pyopenjtalk import g2p
    except ImportError:
        return None
    reader: Any = g2p
    return lambda text: str(reader(text, kana=True)) if text.strip() else ""
