"""Remedies for a voice.toml that cannot be read: what is commonly wrong where the parser stops."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from difflib import get_close_matches

_AS_FIELD = 'write each field as name = "value"'
_REMEDIES = (  # by what tomllib's message contains; its wording differs a little between versions of Python
    ("overwrite a value", "a field is written twice; keep one"),
    ("declare", "a table is written twice; keep one"),
    ("mutate", "a table is written twice; keep one"),
    ("Unescaped", "double each backslash, or put the text between single quotes"),
    ("Illegal character '\\n'", 'end the text with a quote on the same line, or put it between """ and """'),
    ("Unterminated string", "end the text with the quote that it begins with"),
    ("Expected '=' after a key", _AS_FIELD),
    ("Invalid statement", _AS_FIELD),
    ("Invalid value", "put text between quotes"),
    ("Expected newline or end of document", "put one field on a line, and no quotes within quotes"),
)
VALUE_REMEDIES = {"text": "the words of the recording are its `transcript`"}  # by field
_QUOTED = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'[^']*'|#.*")
_LINE = re.compile(r"at line (\d+)")


def remedy_of(text: str, message: str) -> str:
    """What to change in a text that tomllib refused with a message; "" where nothing better is known than that."""
    at = _LINE.search(message)
    line = text.split("\n")[int(at[1]) - 1] if at else ""
    odd = next((char for char in _QUOTED.sub("", line) if char > "~"), None)
    if odd is not None:
        name = unicodedata.name(odd, "unnamed")
        return f"U+{ord(odd):04X} ({name}) stands outside of quotes there; use plain quotes and blanks"
    return next((remedy for part, remedy in _REMEDIES if part in message), "")


def encoding_remedy(data: bytes) -> str:
    """How to save a file that is not UTF-8."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in data:
        return "it is UTF-16; save it as UTF-8"
    text = data.decode("utf-8", "replace")
    line = 1 + text[: text.find("\ufffd")].count("\n")
    return f"line {line} has other bytes, as Windows-1252 or Shift JIS write them; save it as UTF-8"


def field_remedy(name: str, is_in_table: bool, fields: Collection[str], top_fields: Collection[str]) -> str | None:
    """Which field an unknown one is meant to be. fields: of its table; top_fields: of the card itself."""
    if is_in_table and name in top_fields:
        return "move it above the first [table]"
    known = {field.casefold(): field for field in fields}
    near = get_close_matches(name.strip().casefold(), known, n=1, cutoff=0.75)
    return f"is `{known[near[0]]}` meant?" if near else None
