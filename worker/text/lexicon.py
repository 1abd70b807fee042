"""A voice's lexicon: how to spell the words that the engine would mispronounce."""

from __future__ import annotations

import re
from collections.abc import Mapping

from worker.text.characters import normalise

# Scripts whose words follow each other without a blank, or (hangul) carry their particles with them.
_UNSPACED = "\u1100-\u11ff\u3005-\u3007\u3041-\u30ff\u3130-\u318f\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003ffff"
_WORD_CHAR = rf"[^\W{_UNSPACED}]"
_IS_WORD_CHAR = re.compile(_WORD_CHAR)


class Lexicon:
    """Replaces whole words, the longest entry first; entries match in any case, an entry in the very case wins.

    A word in Japanese, Chinese or Korean may stand against other characters of these scripts, and so may a Latin word
    beside them. What was put in is not looked at again. Raises ValueError for an entry without a word.
    """

    __slots__ = ("_any_case", "_exact", "_words")

    def __init__(self, entries: Mapping[str, str]) -> None:
        self._exact: dict[str, str] = {}
        first_spelling: dict[str, str] = {}
        for word, spoken in entries.items():
            key = " ".join(normalise(word).split())
            if not key:
                raise ValueError(f"lexicon entry {word!r} has no word to look for: remove it or write the word")
            self._exact[key] = spoken
            first_spelling.setdefault(key.lower(), key)
        keys = sorted(first_spelling.values(), key=lambda key: (-len(key), key))
        self._any_case = [self._exact[key] for key in keys]
        self._words = re.compile("|".join(map(_pattern, keys)), re.IGNORECASE) if keys else None

    def apply(self, text: str) -> str:
        """The text with its words respelt."""
        return text if self._words is None else self._words.sub(self._spoken, text)

    def _spoken(self, word: re.Match[str]) -> str:
        assert word.lastindex is not None  # every alternative is one group
        spoken = self._exact.get(" ".join(word[0].split()))
        return self._any_case[word.lastindex - 1] if spoken is None else spoken


def _pattern(key: str) -> str:
    before = f"(?<!{_WORD_CHAR})" if _IS_WORD_CHAR.match(key[0]) else ""
    after = f"(?!{_WORD_CHAR})" if _IS_WORD_CHAR.match(key[-1]) else ""
    words = r"\s+".join(map(re.escape, key.split()))
    return f"{before}({words}){after}"
