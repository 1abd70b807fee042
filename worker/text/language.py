"""The language of a text, from its script: for a job without a language, and for "Auto" in the preview engine.

A text may mix scripts, and the one with the most words decides; at a tie, the one that comes first. A word is a run of
letters of one alphabet, or one Han character; in a text with kana, three characters of kana and Han. A Latin word with
kana or hangul attached (MaxとLinux) or a Japanese particle behind it counts with them, since Japanese and Korean mark
foreign words so. An English sentence with a Japanese name stays English.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from math import ceil

_LETTERS = {
    "kana": "\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f\U0001b000-\U0001b16f",
    "hangul": "\u1100-\u11ff\u3131-\u318e\ua960-\ua97c\uac00-\ud7fb",
    "cyrillic": "\u0400-\u0481\u0487-\u052f\u1c80-\u1c8f\u2de0-\u2dff\ua640-\ua69f",
    "han": "\u2e80-\u2fd5\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af",
}
_KANA_WORD_CHARS = 3
_BY_LENGTH = frozenset({"kana", "han"})  # written without blanks
_KANA = re.compile(f"[{_LETTERS['kana']}]")
_WORD = re.compile(
    "|".join(f"(?P<{script}>[{letters}]+)" for script, letters in _LETTERS.items())
    + f"|(?P<latin>(?:(?![{''.join(_LETTERS.values())}])[^\\W\\d_])+)"  # every other alphabet is spoken like Latin
)
_ATTACHED = re.compile(
    rf"[A-Za-z][0-9-]*(?:[!?.)\"'”’」』）]{{0,3}}(?:(?=[{_LETTERS['kana']}])|(?P<hangul>(?=[{_LETTERS['hangul']}])))"
    r"|\s(?=[はがをにでとのもへや]\s))"
)
_LANGUAGE_OF = {"kana": "Japanese", "hangul": "Korean", "cyrillic": "Russian"}
_IN_OTHER_SCRIPTS = frozenset({"Chinese", *_LANGUAGE_OF.values()})


def language_of(text: str, languages: Sequence[str]) -> str:
    """The language of a job that names none. text: cleaned. languages: the voice card's, in its order.

    Han alone is the first of Chinese and Japanese in `languages`, or Chinese. Latin letters and a text without letters
    are English.
    """
    return _language(_script_of(text), languages, latin="English")


def language_of_auto(text: str, languages: Sequence[str]) -> str:
    """The language of "Auto" for an engine that needs one: as `language_of`, but the card decides about Latin letters.

    Latin letters are the first of `languages` that is written in them, a text without letters the first of all; English
    where there is none.
    """
    script = _script_of(text)
    fitting = [one for one in languages if script is None or one not in _IN_OTHER_SCRIPTS]
    return _language(script, languages, latin=fitting[0] if fitting else "English")


def _language(script: str | None, languages: Sequence[str], latin: str) -> str:
    if script == "han":
        return next((one for one in languages if one in {"Chinese", "Japanese"}), "Chinese")
    return _LANGUAGE_OF.get(script or "latin", latin)


def _script_of(text: str) -> str | None:
    """The script that decides the language; None for a text without letters."""
    if text.isascii():
        return "latin" if _WORD.search(text) else None
    has_kana = _KANA.search(text) is not None
    n_words: Counter[str] = Counter()
    for word in _WORD.finditer(text):
        script = str(word.lastgroup)
        n_words["kana" if has_kana and script == "han" else script] += len(word[0]) if script in _BY_LENGTH else 1
    n_words["kana"] = ceil(n_words["kana"] / _KANA_WORD_CHARS)
    for attached in _ATTACHED.finditer(text):
        n_words["latin"] -= 1
        n_words["kana" if attached["hangul"] is None else "hangul"] += 1
    return n_words.most_common(1)[0][0] if n_words.total() else None
