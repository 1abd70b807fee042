"""A voice's lexicon: respellings of words that the engine mispronounces."""

from __future__ import annotations

import re
from collections.abc import Mapping

from worker.text.characters import normalise, respell_quotes

# Scripts written without blanks between words, or (hangul) with particles attached to words.
_UNSPACED = re.compile(
    "[\u1100-\u11ff\u3005-\u3007\u3041-\u30ff\u3130-\u318f\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff"
    "\U00020000-\U0003ffff]"
)


class Lexicon:
    """Replaces whole words, the longest entry first. An entry in the same case wins over one in another case.

    A word in Japanese, Chinese or Korean may touch other characters of these scripts, and so may a Latin word.
    Replacements are not searched again. Raises ValueError for an entry without a word.
    """

    __slots__ = ("_any_case", "_exact", "_lengths", "_starts", "may_silence")

    def __init__(self, entries: Mapping[str, str]) -> None:
        self.may_silence = not all(any(map(str.isalnum, spoken)) for spoken in entries.values())  # leave no word
        self._exact: dict[str, str] = {}
        self._any_case: dict[str, str] = {}
        lengths: dict[str, set[int]] = {}
        for word, spoken in entries.items():
            key = " ".join(respell_quotes(normalise(word)).split())
            if not key:
                raise ValueError(f"lexicon entry {word!r} has no word; remove it or write the word")
            self._exact[key] = spoken
            self._any_case.setdefault(_folded(key), spoken)
            lengths.setdefault(_folded(key)[0], set()).add(len(key))
        self._lengths = {first: sorted(of_first, reverse=True) for first, of_first in lengths.items()}
        self._starts = re.compile(f"[{re.escape(''.join(lengths))}]") if lengths else None

    def apply(self, text: str) -> str:
        """The text with the lexicon's words replaced."""
        if self._starts is None:
            return text
        folded = _folded(text)
        parts: list[str] = []
        kept = 0
        for start in self._starts.finditer(folded):
            at = start.start()
            if at >= kept and (end := self._end(folded, at)):
                word = text[at:end].replace("\n", " ")
                parts += text[kept:at], self._exact.get(word, self._any_case[folded[at:end]])
                kept = end
        return "".join(parts) + text[kept:]

    def apply_settled(self, text: str) -> str:
        """The beginning of a text with its words replaced, up to an entry of several words, which a cut may part.

        text: ends at a word's end, and goes on.
        """
        if self._starts is None:
            return text
        folded = _folded(text)
        for start in self._starts.finditer(folded):
            at = start.start()
            if at and _is_one_word(folded[at - 1], folded[at]):
                continue
            if any(self._may_be_parted(folded, at, length) for length in self._lengths[folded[at]]):
                return self.apply(text[:at].rstrip())
        return self.apply(text)

    def _may_be_parted(self, folded: str, at: int, length: int) -> bool:
        """True where an entry of this length stands or begins that has several words, or goes on after the text."""
        part = folded[at : at + length]
        if len(part) == length:
            return " " in part and part in self._any_case
        return any(entry.startswith(part) for entry in self._any_case if len(entry) == length)

    def _end(self, folded: str, at: int) -> int | None:
        """Where the longest entry ends that matches a whole word at this index, or None."""
        if at and _is_one_word(folded[at - 1], folded[at]):
            return None
        for length in self._lengths[folded[at]]:
            end = at + length
            is_entry = end <= len(folded) and folded[at:end] in self._any_case
            if is_entry and not _is_one_word(folded[end - 1], folded[end : end + 1]):
                return end
        return None


def _folded(text: str) -> str:
    """The text in lower case, character by character, its newlines as blanks."""
    lower = text.lower()
    if len(lower) != len(text):
        lower = "".join(char.lower() if len(char.lower()) == 1 else char for char in text)
    return lower.replace("\n", " ")


def _is_one_word(left: str, right: str) -> bool:
    return _is_word_char(left) and _is_word_char(right)


def _is_word_char(char: str) -> bool:
    return char == "_" or (char.isalnum() and not _UNSPACED.match(char))
