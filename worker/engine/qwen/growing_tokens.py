"""The tokens of a text that is still being written: each is given once no further text can change it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Any

# What may become a special token, which is removed. Special tokens hold neither a blank nor a second ">".
_UNFINISHED = re.compile(r"<[^>\s]*\Z")


class GrowingTokens:
    """The tokens of one text, whose ids are those of the whole text tokenised at once, wherever it is cut.

    tokenizer: upstream's, a fast one. plain: removes special tokens and leading newlines from a text; with True it also
    raises PromptError for a text without words.
    """

    def __init__(self, tokenizer: Any, plain: Callable[[str, bool], str]) -> None:
        self._tokenizer = tokenizer
        self._backend = tokenizer.backend_tokenizer
        self._plain = plain
        self._text = ""
        self._n_read = 0  # characters of the normalised text whose tokens were given

    def extend(self, text: str, is_end: bool) -> list[int]:
        """Append text; returns the ids that are certain now, at the text's end all that are left."""
        self._text += text
        plain = self._plain(self._text, is_end)
        if not is_end:
            plain = _UNFINISHED.sub("", plain)
        # A combining mark changes the character before it.
        rest = self._normalised(plain)[self._n_read :]
        certain = rest if is_end else rest[: self._n_certain(rest)]
        self._n_read += len(certain)
        ids: list[int] = self._tokenizer(certain)["input_ids"] if certain else []
        return ids

    def _normalised(self, text: str) -> str:
        normalizer = self._backend.normalizer
        normalised: str = text if normalizer is None else normalizer.normalize_str(text)
        return normalised

    def _n_certain(self, rest: str) -> int:
        """The characters up to the last word boundary that stays one.

        Tokens never cross the boundaries of pre-tokens (words, runs of marks or of blanks). Further text changes the
        last pre-token, with a mark the base that it belongs to, and with a newline all blanks before it. Several blanks
        are split before a word, and not at a text's end.
        """
        starts: list[int] = [start for _, (start, _) in self._backend.pre_tokenizer.pre_tokenize_str(rest)]
        while starts:
            start = starts.pop()
            before = rest[:start]
            is_in_blanks = rest[start:].isspace() and before[-1:].isspace()
            is_after_blanks = len(before) > 1 and before[-2:].isspace()
            if not (_is_mark(rest[start]) or is_in_blanks or is_after_blanks):
                return start
        return 0


def _is_mark(char: str) -> bool:
    return unicodedata.category(char).startswith("M")
