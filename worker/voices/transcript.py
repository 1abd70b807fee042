"""What a transcript alone shows, and how long it takes to speak."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

PACES = (0.6, 1.7)  # of the ordinary time: outside of it a part of the transcript or of the recording is missing

# Seconds of sound at an ordinary pace: between a quick synthetic voice and a slow human reader.
_MORA_S, _HAN_WITH_KANA_S, _HAN_S, _HANGUL_S = 0.135, 0.27, 0.21, 0.19
_DIGIT_S, _CAPITAL_S, _LETTER_S = 0.3, 0.25, 0.066

_SMALL_KANA = frozenset("ぁぃぅぇぉゃゅょゎァィゥェォャュョヮ")  # part of the mora before
_CAPITALS = re.compile(r"\b[A-Z]{2,5}\b")
_TIME = re.compile(r"\d{1,2}:\d{2}[:.,]\d{2}|[\[(]\d{1,2}:\d{2}[\])]|-->|^\d{1,2}:\d{2}\s", re.MULTILINE)
_DIRECTION = re.compile(r"\([^()]*\)|（[^（）]*）|\[[^\[\]]*\]|【[^【】]*】|\*[^*\s][^*]*\*|<[^<>]*>|[♪♫]+")
_SPEAKER = re.compile(
    r"^(?:[A-Z]|(?:speaker|narrator|interviewer|host|guest|voice|話者|語り手|ナレーター|司会)\s?[\dA-Z]{0,2})\s?[:：]",
    re.MULTILINE | re.IGNORECASE,
)
_ROMAJI = re.compile(
    r"(?:(?:[kstnhmyrwgzjdbpfv]|ch|sh|ts|[knhmrgbpjz]y|(k|s|t|p|c)(?=\1|ch))*[aiueoāīūēōâîûêô]|n'?(?![aiueoy]))+"
)
_SCRIPTS = ("Chinese", "Korean", "Russian")  # languages that are not written in Latin letters
_ALL_OF_IT = "it must cover all of the recording and nothing else"


def ordinary_s(transcript: str) -> float:
    """Seconds of sound, pauses not counted, that an ordinary speaker makes of a transcript."""
    text = unicodedata.normalize("NFKC", transcript)
    has_kana = re.search(r"[\u3041-\u30ff]", text) is not None
    n_capitals = sum(len(word) for word in _CAPITALS.findall(text)) if re.search("[a-z]", text) or has_kana else 0
    return sum(_seconds_of(char, has_kana) for char in text) + n_capitals * (_CAPITAL_S - _LETTER_S)


def _seconds_of(char: str, has_kana: bool) -> float:
    if not char.isalnum() or char in _SMALL_KANA:
        return 0.0
    if char.isdecimal():
        return _DIGIT_S
    if char < "\u1100":
        return _LETTER_S
    if "\u3041" <= char <= "\u30ff" or "\u31f0" <= char <= "\u31ff":
        return _MORA_S
    if "\uac00" <= char <= "\ud7a3":
        return _HANGUL_S
    return _HAN_WITH_KANA_S if has_kana else _HAN_S


def warnings_of(transcript: str, languages: Sequence[str], sound_s: float) -> Iterator[str]:
    """What in a transcript will make the model speak wrong words. sound_s: the recording's seconds without pauses."""
    unspoken = _TIME.search(transcript) or _DIRECTION.search(transcript) or _SPEAKER.search(transcript)
    if unspoken:
        yield f"the transcript has {unspoken[0].strip()[:40]!r}; write down only the words that are heard"
    script = _foreign_script(transcript, languages)
    if script:
        yield f"the transcript is in Latin letters; write {script} in its own script, as the recording's text is read"
    ordinary = ordinary_s(transcript)
    if sound_s < ordinary * PACES[0]:
        yield f"the transcript is too long for {sound_s:.1f} s of speech; {_ALL_OF_IT}"
    if sound_s > ordinary * PACES[1]:
        yield f"the transcript is too short for {sound_s:.1f} s of speech; {_ALL_OF_IT}"


def _foreign_script(transcript: str, languages: Sequence[str]) -> str | None:
    """The card's language that this transcript is probably a Latin transliteration of."""
    if any(char.isalpha() and char >= "\u0370" for char in transcript):
        return None
    if all(language in _SCRIPTS for language in languages):
        return languages[0]
    words = re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)?", transcript.lower())
    n_romaji = sum(_ROMAJI.fullmatch(word) is not None for word in words)
    return "Japanese" if "Japanese" in languages and len(words) >= 3 and n_romaji >= 0.9 * len(words) else None
