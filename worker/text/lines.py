"""Lines: block marks go, broken lines go on, and what stands on lines of its own is followed by a pause."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from worker.text.characters import full_stop
from worker.text.lists import unflattened
from worker.text.stops import Language, ends_in_short_form
from worker.text.words import ends_in_particle, joining

_QUOTE = re.compile(r"(?:>+(?:\s+|$))+")
_RULE = re.compile(r"(?:[-*_=] ?){3,}|(?=[: -]*\|)[|: -]+|=+|`{3,}.*|~{3,}\s*[\w+#.-]*")
_HEADING = re.compile(r"-?#{1,6}\s+")
_HEADING_END = re.compile(r"\s#+$")
_BULLET = re.compile(r"(?:(?:[-*+•‣◦○]\s+|[•‣◦・●■◆]\s*)+(?:\[[ xX]\]\s+)?)")
_NUMBERED = re.compile(r"\(?\d{1,2}[.)]\)?\s+\S")
_ALERT = re.compile(r"\[!\w{1,24}\][+-]?\s*|:{3,}\s*(?:\{[^{}]*\}|\w{0,24})\s*")
_SEPARATOR = re.compile(r"\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?")
_FRONT_MATTER = re.compile(
    r"\s*(---|\+\+\+)\n(?=[^\n]*\n)"
    r"(?:(?:[A-Za-z_][\w-]*(?::(?:\s[^\n]*)?| = [^\n]*)| [^\n]*|-[ ][^\n]*|#[^\n]*)?\n)+?\1(?:\n|\Z)"
)
_FIRST_KEY = re.compile(r"\s*(?:---|\+\+\+)\n\s*[a-z_]")

_CLOSING_MARKS = ".!?…:;,。！？、：；，—"  # a line that ends so needs no full stop
_SENTENCE_END = ".!?…:;。！？：；"
_CLOSERS = "\"'”’»)]}」』）】*_~"
_LAST_WORD = re.compile(r"[^\s(\[\"'“«]+\Z")
_FIRST_WORD = re.compile(r"[^\W\d_]+'?")
_WRAP_CHARS = 40
_LOOKBACK_CHARS = 32
_NEARLY = 0.75  # of the paragraph's longest line
_ITEM_WORDS = 4
_language = lru_cache(maxsize=16)(Language)


@dataclass(slots=True)
class _WrittenLine:
    """A line without its block mark. is_hard: a blank line or a block stands before it. is_block: it has a mark."""

    text: str
    is_hard: bool
    is_block: bool
    may_go_on: bool = True


def strip_lines(text: str, language: str) -> str:
    """The lines without block marks: quotes, headings, lists, tables, rules, alerts and front matter.

    A line that ends inside a sentence is joined with the next. Every other line but the last ends in a mark.
    """
    lines = _lines(_without_front_matter(text), language)
    joined: list[_WrittenLine] = []
    at = 0
    while at < len(lines):
        end = at + 1
        while end < len(lines) and not lines[end].is_hard:
            end += 1
        joined += _paragraph(lines[at:end], language)
        at = end
    for index, line in enumerate(joined):
        is_last = index + 1 == len(joined)
        is_hard = line.is_block or (not is_last and joined[index + 1].is_hard)
        if is_hard or (not is_last and line.text[-1].isalnum()):
            line.text = _closed(line.text)
    return "\n".join(line.text for line in joined)


def _without_front_matter(text: str) -> str:
    if text.lstrip()[:3] not in ("---", "+++") or not _FIRST_KEY.match(text):
        return text
    return _FRONT_MATTER.sub("", text, count=1) if _FRONT_MATTER.match(text) else text


def _lines(text: str, language: str) -> list[_WrittenLine]:
    raw = _with_rows(text.split("\n"))
    lines: list[_WrittenLine] = []
    is_hard = True
    for whole, is_row in raw:
        parts = [whole] if is_row else unflattened(whole, language).split("\n")
        for part in parts:
            line, kind = (part.strip(), "block") if is_row else _strip_line(part.strip())
            if not line:
                is_hard = True
                continue
            is_block = kind in ("block", "heading")
            starts = kind != "plain" or is_hard
            lines.append(_WrittenLine(line, starts, is_block, may_go_on=kind != "heading" and not is_row))
            is_hard = kind == "heading" or is_row
    return lines


def _with_rows(raw: list[str]) -> list[tuple[str, bool]]:
    """The lines, rows of a table as their cells with commas between, and whether each is a row."""
    lines: list[tuple[str, bool]] = []
    is_table = False
    for index, whole in enumerate(raw):
        if not is_table and "|" not in whole:
            lines.append((whole, False))
            continue
        line = _unquoted(whole.strip())
        below = _unquoted(raw[index + 1].strip()) if index + 1 < len(raw) else ""
        has_bar = "|" in line
        if has_bar and not is_table:
            is_table = "-" in below and ("|" in below or line.startswith("|")) and bool(_SEPARATOR.fullmatch(below))
        elif not has_bar and not _SEPARATOR.fullmatch(line):
            is_table = False
        is_bare_row = len(line) > 2 and line[0] == line[-1] == "|" and not line.startswith("||")
        if has_bar and (is_table or is_bare_row) and not _SEPARATOR.fullmatch(line):
            lines.append((_row(line), True))
        else:
            lines.append(("" if is_table and _SEPARATOR.fullmatch(line) else whole, False))
    return lines


def _row(line: str) -> str:
    cells = [cell.replace("\\|", "|").strip() for cell in re.split(r"(?<!\\)\|", line)]
    row = ""
    for cell in filter(None, cells):
        row += (" " if row[-1:] in tuple(_CLOSING_MARKS) else ", ") + cell if row else cell
    return row


def _strip_line(line: str) -> tuple[str, str]:
    """The line without its block mark, and what it is: "plain", "block", "heading" or "number"."""
    line = _unquoted(line)
    if line[:1].isalnum():
        return line, "number" if line[0].isdigit() and _NUMBERED.match(line) else "plain"
    if mark := _ALERT.match(line):
        return line[mark.end() :], "block"
    if _RULE.fullmatch(line):
        return "", "plain"
    if mark := _HEADING.match(line):
        return _HEADING_END.sub("", line[mark.end() :]), "heading"
    if mark := _BULLET.match(line):
        return line[mark.end() :], "block"
    return line, "number" if _NUMBERED.match(line) else "plain"


def _unquoted(line: str) -> str:
    mark = _QUOTE.match(line) if line.startswith(">") else None
    return line[mark.end() :] if mark else line


def _paragraph(lines: list[_WrittenLine], language: str) -> list[_WrittenLine]:
    if len(lines) == 1:
        return lines
    longest = max(len(line.text) for line in lines)
    are_items = _are_items(lines, language)
    joined = [lines[0]]
    length = len(lines[0].text)  # of the line as it was written, which decides whether it was wrapped
    for line in lines[1:]:
        last = joined[-1]
        if last.may_go_on and (glue := _glue(last, length, line.text, longest, are_items, language)) is not None:
            if glue == "-":
                last.text = last.text[:-1]
            last.text += line.text if glue == "-" else glue + line.text
            last.may_go_on = line.may_go_on
        else:
            joined.append(line)
        length = len(line.text)
    return joined


def _glue(last: _WrittenLine, length: int, after: str, longest: int, are_items: bool, language: str) -> str | None:
    """What joins a line with the next: a blank, nothing, or "-" for a word in two parts; None when it ends there."""
    before, words = last.text, joining(language)
    first = _FIRST_WORD.match(after)
    starts_joining = first is not None and first[0] in words and after[0].islower()
    if before[-1] == "-" and before[-2:-1].isalpha() and after[0].isalpha():
        return "" if after[0].isupper() else " " if starts_joining else "-"
    is_long = length >= _WRAP_CHARS and length >= _NEARLY * longest
    ends = before.rstrip(_CLOSERS)[-1:]
    if not ends or ends in _SENTENCE_END:
        goes_on = before[-1] == "." and (
            (is_long and _is_abbreviation(before, after, language))
            or (after[0].islower() and ends_in_short_form(before[-_LOOKBACK_CHARS:]))
        )
    elif is_long:
        goes_on = True
    else:
        word = _LAST_WORD.search(before[-_LOOKBACK_CHARS:])
        ends_joining = word is not None and word[0] in words and word[0].islower()
        if are_items:  # "Log in", "Sign up" and "Sign out" end in words that join other lines
            goes_on = starts_joining or (ends_joining and after[0].islower())
        else:
            ends_joining = ends_joining or ends_in_particle(before)
            goes_on = starts_joining or ends_joining or (after[0].islower() and not last.is_block)
    if not goes_on:
        return None
    return "" if _is_unspaced(before[-1]) and _is_unspaced(after[0]) else " "


def _is_unspaced(char: str) -> bool:
    return char >= "\u2e80" and not "\uac00" <= char <= "\ud7a3"


def _is_abbreviation(before: str, after: str, language: str) -> bool:
    end = before[-_LOOKBACK_CHARS:]
    return _language(language).goes_on(end, len(end) - 1, f" {after[:32]}")


def _are_items(lines: list[_WrittenLine], language: str) -> bool:
    """True for lines of few words without marks at their ends, after an opening line or without one."""
    first = lines[0].text
    opens = len(lines) > 2 and (first[-1] in ":：" or len(first.split()) > _ITEM_WORDS)
    items = [line.text for line in lines[opens:]]
    if len(items) < 2:
        return False
    if len(lines) > 2 and items[-1][-1] == ".":
        items[-1] = items[-1].rstrip(".") or "."
    n_words = _ITEM_WORDS + (len(items) > 2)
    are_few = all(len(item.split()) <= n_words and len(item) < _WRAP_CHARS for item in items)
    if not are_few or any(item[-1] in _CLOSING_MARKS + "-" for item in items):
        return False
    if len(items) > 2:
        return True
    return items[0][0].isupper() == items[1][0].isupper() and items[0].rsplit(" ")[-1] not in joining(language)


def _closed(line: str) -> str:
    bare = line.rstrip("*_~")
    return line if not bare or bare[-1] in _CLOSING_MARKS else line + full_stop(bare)
