"""Lists: the items of a list that was written in one line, each on a line of its own."""

from __future__ import annotations

import re

from worker.text.words import MONTHS, joining

NUMBER = re.compile(
    r"(?P<before>^|(?<=[^\W\d][.!?])|(?<=[\s:：;；。！？、，•‣◦●■◆]))(?P<bullet>(?:[•‣◦●■◆*-]\s*)?)\(?(?P<n>\d{1,2})(?P<stop>[.．]\)?|[)）、])"
    r"(?P<blank> +|(?=[^\x00-\u2e7f\d])|(?=\*\*))"
)
_OPENS_AFTER = ":：.!?…。！？;；"
_CLOSERS = " \"'”’»)]}）」』*_"
_MAY_HOLD_ITEMS = re.compile(r"[•‣◦●■◆]|\d[.．)）、]")
_WORD = re.compile(r"[^\W\d_]{1,12}")
_LOOKBACK_CHARS = 32
_BULLET = re.compile(r"(?<=\S)\s*[•‣◦●■◆]\s+")


def unflattened(line: str, language: str) -> str:
    """The line with a line end before each item of a list that it holds.

    A number opens an item after a colon, a bullet or a sentence's end, or when it is one more than the item's before.
    The first of several must be followed by the next, unless it is 1.
    None stands behind an article, a preposition or a conjunction.
    """
    if not _MAY_HOLD_ITEMS.search(line):
        return line
    if not line.isascii():
        line = _BULLET.sub("\n• ", line)
    return "\n".join(_numbered(part, language) for part in line.split("\n"))


def _numbered(line: str, language: str) -> str:
    begin = len(line) - len(line.lstrip())
    found = list(NUMBER.finditer(line))
    if all(item.start() <= begin for item in found):
        return line
    found = [item for item in found if not _is_date(line, item.end())]
    later: set[tuple[int, str]] = set()
    followed: list[bool] = []
    for item in reversed(found):
        n, stop = int(item["n"]), item["stop"]
        followed.append((n + 1, stop) in later)
        later.add((n, stop))
    followed.reverse()
    parts: list[str] = []
    at = 0
    last: tuple[int, str] | None = None
    for item, is_followed in zip(found, followed, strict=True):
        n, stop = int(item["n"]), item["stop"]
        before = line[max(begin, item.start() - _LOOKBACK_CHARS) : item.start()].rstrip()
        is_next = last == (n - 1, stop)
        ends = before.rstrip(_CLOSERS)[-1:]
        opens = not before or bool(item["bullet"]) or (bool(ends) and ends in _OPENS_AFTER)
        is_glued = bool(item.start()) and line[item.start() - 1] in ".!?"
        if is_next or (not is_glued and opens and (n == 1 or is_followed)):
            last = (n, stop)
            if before and _last_word(before) not in joining(language):
                parts.append(line[at : item.start()].strip())
                at = item.start()
    return "\n".join([*parts, line[at:].lstrip()]) if parts else line


def _last_word(text: str) -> str:
    return text[-16:].rpartition(" ")[2].lower()


def _is_date(line: str, at: int) -> bool:
    word = _WORD.match(line, at)
    return word is not None and word[0].lower() in MONTHS
