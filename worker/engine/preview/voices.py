"""The espeak-ng voice of a segment, by its language (for "Auto", its text) and the voice's card."""

from __future__ import annotations

import unicodedata
from collections import Counter

from worker.voices.card import Card

ESPEAK_VOICES = {
    "Chinese": "cmn",
    "English": "en",
    "French": "fr",
    "German": "de",
    "Italian": "it",
    "Japanese": "ja",
    "Korean": "ko",
    "Portuguese": "pt",
    "Russian": "ru",
    "Spanish": "es",
}

_SCRIPTS = {
    "HIRAGANA": "kana",
    "KATAKANA": "kana",
    "HANGUL": "hangul",
    "CJK": "han",
    "CYRILLIC": "cyrillic",
}
_OTHER_SCRIPTS = {"Chinese", "Japanese", "Korean", "Russian"}  # languages not written in Latin letters


def espeak_voice(card: Card, language: str, text: str) -> str | None:
    """espeak-ng's voice for this segment, or None for a language without one. `language` may be "Auto"."""
    spoken = spoken_language(text, card.languages) if language == "Auto" else language
    return card.preview.espeak_voices.get(spoken) or ESPEAK_VOICES.get(spoken)


def spoken_language(text: str, preferred: tuple[str, ...]) -> str:
    """The language of a text, from its script, and from `preferred` where several languages share the script.

    Any kana makes it Japanese. Otherwise the script with the most words decides: Han is Chinese, unless `preferred`
    has Japanese before it; Latin is the first of `preferred` that is written in it, or English. A text without letters
    is the first of `preferred`, or English.
    """
    n_words = _words_by_script(text)
    if not n_words:
        return preferred[0] if preferred else "English"
    if "kana" in n_words:
        return "Japanese"
    match n_words.most_common(1)[0][0]:
        case "hangul":
            return "Korean"
        case "cyrillic":
            return "Russian"
        case "han":
            return next((one for one in preferred if one in {"Chinese", "Japanese"}), "Chinese")
        case _:
            return next((one for one in preferred if one not in _OTHER_SCRIPTS), "English")


def _words_by_script(text: str) -> Counter[str]:
    """Count words: runs of one alphabet's letters, and each Han character."""
    n_words: Counter[str] = Counter()
    last = None
    for script in map(_script, unicodedata.normalize("NFKC", text)):
        if script is not None and (script == "han" or script != last):
            n_words[script] += 1
        last = script
    return n_words


def _script(character: str) -> str | None:
    if character.isascii():
        return "latin" if character.isalpha() else None
    if not character.isalpha():
        return None
    return _SCRIPTS.get(unicodedata.name(character, "").split(" ", 1)[0], "latin")
