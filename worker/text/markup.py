"""Markup: the words of a marked-up text without its marks.

Each pattern takes time linear in the text's length: its repeated classes exclude what starts the pattern.

Not by markdown-it-py 4.3: CommonMark reads `a<b and c>d` as a tag and loses its words, `2*3*4` as emphasis, and the
marks of **「重要」**です as text; it takes the numbers from a list, and 7 s for 100,000 `[` where this takes 0.1 s.
"""

from __future__ import annotations

import re

_QUOTE = re.compile(r"(?:>+(?:\s+|$))+")
_FENCE = re.compile(r"(?:`{3,}|~{3,})\s*[\w+#.-]{0,24}\s*")
_RULE = re.compile(r"(?:[-*_=] ?){3,}|(?=[: -]*\|)[|: -]+|=+")
_HEADING = re.compile(r"#{1,6}\s+")
_HEADING_END = re.compile(r"\s#+$")
_BULLET = re.compile(r"(?:(?:[-*+•‣◦○]\s+|[•‣◦・●■◆]\s*)+(?:\[[ xX]\]\s+)?)")
_DEFINITION = re.compile(r"\[[^\[\]]{1,200}\]:\s*(?:https?://|www\.|[/#])")
_CLOSING_MARKS = ".!?…:;,。！？、：；，—"  # a line that ends so needs no full stop
_SENTENCE_END = ".!?…:;。！？：；"

_ESCAPE = re.compile(r"(?<!\\)\\+(?=[*_`~#\[\]()<>|!])")
_TOKEN = re.compile(r"<\|[^\s<>|]{0,64}\|>|</?(?:tts_\w{1,32}|think|tool_call|tool_response)>")
_TAG = re.compile(
    r"</?(?:a|b|i|u|s|p|em|strong|br|hr|div|span|ul|ol|li|code|pre|h[1-6]|su[bp]|del|ins|img|table|t[rdh]|thead|tbody"
    r"|blockquote|details|summary|mark|kbd|speak|prosody|break)(?:\s+[\w:-]{1,40}=(?:\"[^\"<>]*\"|'[^'<>]*'|[^\s\"'<>]+))*\s*/?>",
    re.IGNORECASE,
)
_AUTOLINK = re.compile(r"<((?:https?://|mailto:)[^\s<>]*)>", re.IGNORECASE)
_TARGET = r"\((?=[^()\s]*[./#:]|\))(?:[^()\n]|\([^()\n]*\))*\)"
_LINK = re.compile(rf"!?\[([^\[\]\n]*)\](?:{_TARGET}|(?<=[^\[]\])\[[^\[\]\n]+\])")
_FOOTNOTE = re.compile(r"\[\^[^\[\]\s]{1,40}\]")
_URL = re.compile(
    r"(?<![A-Za-z0-9])(?:(?:https?|ftp|wss?)://(?:[A-Za-z0-9._~%!$&'*+,;=:-]*@)?(?:www\.)*|(?:www\.)+)"
    r"(?P<host>[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*)?(?P<rest>:\d+|)(?:[/?#](?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]*[A-Za-z0-9/=_~&#+%-])?)?"
    r"|(?<![A-Za-z0-9])mailto:",
    re.IGNORECASE,
)
_EMPHASIS = re.compile(r"\*+|_+|~~+")
_REPEATED = re.compile(r"([.,!?。、！？~〜=*#_-])\1{3,}|…{2,}|—{2,}")


def strip_lines(text: str) -> str:
    """The lines without block marks: quotes, headings, lists, tables, rules and code fences.

    A line that ends inside a sentence is joined with the next. Every other line but the last ends in a mark.
    """
    lines: list[str] = []
    may_join = False
    for raw in text.split("\n"):
        line, is_block = _strip_line(raw.strip())
        if not line:
            may_join = False
        elif lines and may_join and not is_block and line[0].islower() and lines[-1][-1] not in _SENTENCE_END:
            lines[-1] += " " + line
        else:
            if lines:
                lines[-1] = _closed(lines[-1], not may_join or lines[-1][-1].isalnum())
            lines.append(_closed(line, is_block))
            may_join = not is_block
    return "\n".join(lines)


def strip_inline(text: str) -> str:
    """The text without special tokens, tags, links, code marks and emphasis, and with URLs as their host name."""
    if "\\" in text:
        text = _ESCAPE.sub("", text)
    if "<" in text:
        text = _AUTOLINK.sub(r"\1", _TAG.sub(" ", _TOKEN.sub(" ", text)))
    if "[" in text:
        text = _FOOTNOTE.sub("", _LINK.sub(r"\1", text))
    if "`" in text:
        text = text.replace("`", "")
    if ":" in text or "www." in text.lower():
        text = _URL.sub(_host, text)
    if "*" in text or "_" in text or "~~" in text:
        text = "\n".join(_without_emphasis(line) for line in text.split("\n"))
    return _REPEATED.sub(lambda run: run[0][0] if run[0][0] in "…—" else run[0][:3], text)


def _strip_line(line: str) -> tuple[str, bool]:
    """The line without its block mark, and whether that mark makes it a block that joins no other line."""
    if line.startswith(">"):
        line = _QUOTE.sub("", line, count=1) if _QUOTE.match(line) else line
    if _FENCE.fullmatch(line) or _RULE.fullmatch(line) or _DEFINITION.match(line):
        return "", False
    if line.startswith("|") and line.endswith("|") and len(line) > 2:
        return ", ".join(filter(None, map(str.strip, line.split("|")))), True
    if mark := _HEADING.match(line):
        return _HEADING_END.sub("", line[mark.end() :]), True
    if mark := _BULLET.match(line):
        return line[mark.end() :], True
    return line, False


def _closed(line: str, needs_mark: bool) -> str:
    if not needs_mark or line[-1] in _CLOSING_MARKS:
        return line
    is_japanese = line[-1] >= "\u3001" and not "\uac00" <= line[-1] <= "\ud7a3"
    return line + ("。" if is_japanese else ".")


def _host(url: re.Match[str]) -> str:
    return url["host"] or ""


def _without_emphasis(line: str) -> str:
    """The line without its pairs of emphasis marks; 2 * 3, snake_case and *args have none."""
    opened: dict[str, list[list[int]]] = {"*": [], "_": [], "~": []}
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
        if start < end and after and not after.isspace() and not _bars_opening(sign, before):
            stack.append([start, end])
    return _without(line, cuts)


def _bars_opening(sign: str, before: str) -> bool:
    return before.isalnum() and (sign == "_" or (sign == "*" and before.isascii()))


def _bars_closing(sign: str, width: int, after: str) -> bool:
    if sign == "*" and width > 1:
        return after.isdigit()  # **API**s, but not 2**3
    return after.isalnum() and (sign == "_" or (sign == "*" and after.isascii()))


def _without(line: str, cuts: list[tuple[int, int]]) -> str:
    kept, at = [], 0
    for start, end in sorted(cuts):
        kept.append(line[at:start])
        at = end
    return "".join(kept) + line[at:]
