"""Inline markup: the words of a marked-up text without its marks.

Each pattern takes time linear in the text's length: its repeated classes exclude what starts the pattern.

Not by markdown-it-py 4.3: CommonMark reads `a<b and c>d` as a tag and loses its words, `2*3*4` as emphasis, and the
marks of **「重要」**です as text; it takes the numbers from a list, and 7 s for 100,000 `[` where this takes 0.1 s.
"""

from __future__ import annotations

import re

from worker.text.addresses import TARGET, shortened

_ESCAPE = re.compile(r"(?<!\\)\\+(?=[*_`~#\[\]()<>|!{}$&%\"'/.+=-])")
_EMBEDDED = re.compile(
    r"!\[\[[^\[\]\n]{0,400}\]\]|\[\[(?:File|Image|Datei|Fichier|Archivo):(?:[^\[\]\n]|\[\[[^\[\]\n]{0,200}\]\]){0,400}\]\]",
    re.I,
)
_WIKI = re.compile(r"\[\[(?!\s|\d{1,3}\])([^\[\]\n|]{1,200})(?:\|([^\[\]\n]{1,200}))?\]\]")
_LINK = re.compile(rf"!?\[([^\[\]\n]*)\]{TARGET}")
_RULE_INSIDE = re.compile(r"(?<!\S)(?:([*_=~#])\1{2,}|-{4,}|[*_]( [*_]){2,})(?!\S)")
_RULE_AT_END = re.compile(r"^\s*-{2,3}\s+(?=[^\s-])|(?<=[^\s-])\s+-{2,3}\s*$")
_RUNS = ("-- ", " --", "***", "___", "===", "~~~", "###", "----", "* *", "_ _")
_EMPHASIS = re.compile(r"\*+|_+|~~+|(?<!=)==(?!=)|(?<!\|)\|\|(?!\|)")
_REPEATED = re.compile(r"([.,!?。、！？~〜=*#_-])\1{3,}")
_REPEATED_IN_ONE = re.compile(r"…{2,}|—{2,}")
_READING = re.compile(r"(?<=[一-鿿㐀-䶿々〆ヶ])(?:[(（][ぁ-ゖァ-ヺー・ \u3000]{1,40}[)）]|《[ぁ-ゖァ-ヺー・ ]{1,40}》)")
_FACE = re.compile(r"(?<!\S)[^\w\s]{1,3}(?:_*[^\w\s]|_){1,60}(?!\S)")
_SHORTCODE = re.compile(r"(?:^| ):(?:[a-z][a-z0-9_-]{1,40}|[+-]1):(?=[\s.,!?…]|$)", re.MULTILINE)  # :smile:
_KEPT_OF_FACE = re.compile(r"[.,!?…。、！？]+\Z")


def strip_inline(text: str) -> str:
    """The text without links, escapes and emphasis, with URLs as their host name, and without faces of marks."""
    if "\\" in text:
        text = _ESCAPE.sub("", text)
    if "[" in text:
        text = _LINK.sub(_shown, text)
    if "`" in text:
        text = text.replace("`", "")
    text = shortened(text)
    if ":" in text:
        text = _SHORTCODE.sub("", text)
    if any(mark in text for mark in ("*", "_", "~~", "==", "||")):
        text = "\n".join(_without_emphasis(line) for line in text.split("\n"))
    if "（" in text or "(" in text or "《" in text:
        text = _READING.sub("", text)
    text = _FACE.sub(_face, text)
    if "……" in text or "——" in text:
        text = _REPEATED_IN_ONE.sub(lambda run: run[0][0], text)
    return _REPEATED.sub(lambda run: run[0][:3], text)


def strip_wiki(text: str) -> str:
    """The text with wiki links as their shown names, without embedded files."""
    if "[[" not in text:
        return text
    return _WIKI.sub(
        lambda link: _apart(link, (link[2] or link[1].partition("#")[0] or link[1]).strip()), _EMBEDDED.sub("", text)
    )


def break_at_rules(text: str) -> str:
    """The text with a line end for each rule within a line."""
    if not any(run in text for run in _RUNS):
        return text
    return "\n".join(_broken_at_rules(line) if any(run in line for run in _RUNS) else line for line in text.split("\n"))


def _broken_at_rules(line: str) -> str:
    if _RULE_INSIDE.fullmatch(line.strip()):
        return line
    if "|" not in line:
        line = line.replace(" --- ", " — ")
        if "---" in line or "--" in (line.lstrip()[:2], line.rstrip()[-2:]):
            line = _RULE_AT_END.sub("", line)
    return _RULE_INSIDE.sub("\n\n", line)


def _shown(link: re.Match[str]) -> str:
    return _apart(link, link[1])


def _apart(link: re.Match[str], words: str) -> str:
    """The words of a link, with a blank after a letter that they would touch."""
    before = link.string[max(0, link.start() - 1) : link.start()]
    return f" {words}" if before.isalnum() and before < "\u2e80" and words[:1].isalnum() else words


def _face(group: re.Match[str]) -> str:
    marks = group[0]
    ending = _KEPT_OF_FACE.search(marks)
    body = marks[: ending.start()] if ending else marks
    return marks if len(body) < 4 else ending[0] if ending else ""


def _without_emphasis(line: str) -> str:
    """The line without its pairs of emphasis marks; 2 * 3, snake_case and *args have none."""
    if not ("*" in line or "_" in line or "~~" in line or "==" in line or "||" in line):
        return line
    opened: dict[str, list[list[int]]] = {sign: [] for sign in "*_~=|"}
    cuts: list[tuple[int, int]] = []
    for run in _EMPHASIS.finditer(line):
        start, end, sign = run.start(), run.end(), run[0][0]
        before, after = line[start - 1 : start] if start else "", line[end : end + 1]
        stack = opened[sign]
        if before and not before.isspace() and not _bars_closing(sign, end - start, after):
            while stack and start < end:
                opening = stack[-1]
                width = min(opening[1] - opening[0], end - start)
                cuts += [(opening[1] - width, opening[1]), (start, start + width)]
                opening[1] -= width
                start += width
                if opening[0] == opening[1]:
                    stack.pop()
        if start < end and after and not after.isspace() and not _bars_opening(sign, end - start, before, after):
            stack.append([start, end])
    return _without(line, cuts)


def _bars_opening(sign: str, width: int, before: str, after: str) -> bool:
    if sign == "*" and width > 1:
        return before.isalnum() and before.isascii() and (before.isdigit() or after.isdigit())
    if sign in "*=|":
        return before.isalnum() and before.isascii()
    return before.isalnum() and sign == "_"


def _bars_closing(sign: str, width: int, after: str) -> bool:
    if sign == "*" and width > 1:
        return after.isdigit()  # **API**s, but not 2**3
    return after.isalnum() and (sign == "_" or (sign in "*=|" and after.isascii()))


def _without(line: str, cuts: list[tuple[int, int]]) -> str:
    kept, at = [], 0
    for start, end in sorted(cuts):
        kept.append(line[at:start])
        at = end
    return "".join(kept) + line[at:]
