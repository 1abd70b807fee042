"""Stage directions: a few small words in square brackets, and actions between asterisks."""

from __future__ import annotations

import re
from typing import Literal

from worker.text.characters import full_stop

Actions = Literal["speak", "skip"]

_WORD = r"[^\W\d_](?:[^\W\d_]|['’-](?=[^\W\d_])){0,30}"
_DIRECTION = re.compile(
    rf"(?P<before> ?)[\[［](?P<words>{_WORD}(?:,? {_WORD}){{0,2}})[.…!]?[\]］](?![(\[:])(?P<blank> ?)"
)
_MAY_DIRECT = re.compile(r"[\[［][^\W\d_]")
_STARTS = ".!?…。！？\n"
_ENDS = ".!?…。！？\n"
_OPENERS = "\"'“‘«「『(（*_>#- "
_CLOSERS = "\"'”’»」』)）*_"
_ACTION = re.compile(r"(?<![*\w\\])\*(?![*\s])(?P<words>[^*\n]{1,300}?)(?<![\s*\\])\*(?![*\w])")
_MARKS = ".,!?;:…。！？"
_END_MARKS = ".!?…:;,。！？、，"


def without_directions(text: str) -> str:
    """The text without one to three small words alone in square brackets at a sentence's start or end."""
    if not _MAY_DIRECT.search(text):
        return text
    return _DIRECTION.sub(_direction, text)


def with_actions(text: str, actions: Actions) -> str:
    """The text with *actions* that stand between sentences spoken as sentences of their own, or left out."""
    if "*" not in text:
        return text

    def replaced(found: re.Match[str]) -> str:
        words = found["words"]
        if not _is_action(words, actions) or not _stands_between(found):
            return found[0]
        if actions == "skip":
            return ""
        is_last = not text[found.end() :].strip()
        if is_last or words[-1] in _END_MARKS:
            return found[0]
        return f"*{words}{full_stop(words)}*"

    return _ACTION.sub(replaced, text)


def _direction(found: re.Match[str]) -> str:
    text, words = found.string, found["words"]
    if not _is_small(words):
        return found[0]
    opening = found.start() + len(found["before"])
    before = text[max(0, opening - 1) : opening]
    if before.isalnum():
        return found[0]
    starts = text[max(0, found.start() - 8) : found.start()].rstrip(_OPENERS)[-1:]
    ends = text[found.end() : found.end() + 8].lstrip(_CLOSERS + " ")[:1]
    is_start = starts in _STARTS if starts else found.start() <= 8
    is_end = ends in _ENDS if ends else len(text) - found.end() <= 8
    if is_end:
        return "" if text[found.end() : found.end() + 1] in tuple(_MARKS) else found["blank"]
    return found["before"] if is_start else found[0]


def _is_small(words: str) -> bool:
    if any(char.isupper() for char in words) or (words.isascii() and len(words) < 3):
        return False
    return words[0].islower() or len(words) <= 12


def _is_action(words: str, actions: Actions) -> bool:
    """False for what may be a title or a name in italics."""
    second = words.partition(" ")[2]
    if not second:
        return actions == "skip" or not words[0].isupper()
    return not second[0].isupper()


def _stands_between(found: re.Match[str]) -> bool:
    text = found.string
    before = text[max(0, found.start() - 4) : found.start()].rstrip("\"'”’»」』)） ")[-1:]
    after = text[found.end() : found.end() + 6].lstrip(" ")
    starts = not before or before in _STARTS or (before in "-•>" and found.start() < 4)
    is_followed = after[:1] == "*" and after[1:2] != "*"  # by another action
    goes_on = (after.lstrip(_OPENERS)[:1].islower() and not is_followed) or after[:1] in tuple(_END_MARKS)
    return starts and not goes_on
