"""The pieces of a text that is being written: entries of a job's text stream, and the strict reader for them.

    text <bytes>   continues the text; a piece may end within a character
    flush 1        what is there is to be spoken now
    end 1          the text is complete; entries after it are ignored

The fields of one entry count in this order. Other fields are ignored.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from enum import Enum

from schemas.errors import ErrorCode, JobError
from schemas.jobs import MAX_TEXT_CHARS, MAX_UTF8_BYTES_PER_CHAR, text_empty, text_too_long

PIECE_FIELDS = ("text", "flush", "end")


class Mark(Enum):
    """What a publisher writes beside the text itself."""

    FLUSH = "flush"
    END = "end"


class PieceReader:
    """Joins the entries of one text stream, in their order. `add` raises JobError for the first bad entry."""

    def __init__(self, max_text_chars: int = MAX_TEXT_CHARS) -> None:
        self._max_chars = max_text_chars
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._n_chars = self._n_pieces = 0
        self._is_blank = True
        self.has_ended = False

    def add(self, fields: Sequence[bytes]) -> list[str | Mark]:
        """The new text and marks of an entry. fields: flat, name, value, name, value…"""
        if self.has_ended:
            return []
        given = _known(fields)
        found: list[str | Mark] = []
        if text := self._decoded(given["text"]) if "text" in given else "":
            found.append(text)
        if _is_set(given, "flush"):
            found.append(Mark.FLUSH)
        if _is_set(given, "end"):
            self._finish()
            found.append(Mark.END)
        return found

    def _decoded(self, value: bytes) -> str:
        if len(value) > self._max_chars * MAX_UTF8_BYTES_PER_CHAR:
            raise text_too_long(f"a piece of {len(value):,} bytes", self._max_chars)
        self._n_pieces += 1
        try:
            text = self._decoder.decode(value)
        except UnicodeDecodeError:
            raise _not_utf8(f"is not UTF-8 in its piece number {self._n_pieces:,}") from None
        self._n_chars += len(text)
        if self._n_chars > self._max_chars:
            raise text_too_long(f"{self._n_chars:,} characters or more", self._max_chars)
        self._is_blank = self._is_blank and (not text or text.isspace())
        return text

    def _finish(self) -> None:
        self.has_ended = True
        if self._decoder.getstate()[0]:
            raise _not_utf8("ends within a character")
        if self._is_blank:
            raise text_empty()


def _known(fields: Sequence[bytes]) -> dict[str, bytes]:
    given: dict[str, bytes] = {}
    for index in range(0, len(fields) - 1, 2):
        name = fields[index].decode("utf-8", "replace")
        if name in given:
            problem = f"an entry of the text's stream has {name} more than once"
            raise JobError(ErrorCode.INVALID_FIELD, problem, name, "write one entry for each piece")
        if name in PIECE_FIELDS:
            given[name] = fields[index + 1]
    return given


def _is_set(given: dict[str, bytes], name: str) -> bool:
    value = given.get(name)
    if value not in (None, b"1"):
        problem = f"{name} in the text's stream is {value[:32]!r}" if value is not None else ""
        raise JobError(ErrorCode.INVALID_FIELD, problem, name, "write 1, or leave it out")
    return value is not None


def _not_utf8(what: str) -> JobError:
    return JobError(ErrorCode.INVALID_FIELD, f"the text {what}", "text", "write the bytes of one UTF-8 text")
