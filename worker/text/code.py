"""Code: fences that name a programming language are left out, and the words of inline code are kept as words."""

from __future__ import annotations

import re

from worker.text.reasoning import TAG as REASONING_TAG

_FENCE = re.compile(r"[ \t>]*(?P<mark>`{3,}|~{3,})[ \t]*(?P<name>[\w+#.-]{0,24})(?P<rest>[^`\n]*)")
_READ = frozenset({"", "text", "txt", "plain", "plaintext", "markdown", "md"})
_TICKS = re.compile("`+")
_ANGLES = re.compile(r"<(/?[A-Za-z!@#:][^<>`]*)>")
_INDEX = re.compile(r"\[([\d,; –-]{1,16})\]")


def without_fences(text: str) -> str:
    """The text without code in closed fences that name a programming language; other fences lose their marks.

    Names of reasoning tags in a fence that is read lose their angle brackets.
    """
    return _fences(text, is_end=False)


def without_open_fence(text: str) -> str:
    """The text up to a fence that names a programming language and is never closed."""
    return _fences(text, is_end=True)


def _fences(text: str, *, is_end: bool) -> str:
    if "```" not in text and "~~~" not in text:
        return text
    lines = text.split("\n")
    kept: list[str] = []
    opened: tuple[int, str, bool] | None = None  # where `kept` was as the fence opened, its mark, whether it is read
    for line in lines:
        fence = _FENCE.fullmatch(line)
        if fence is None:
            kept.append(line)
            continue
        is_close = opened is not None and not fence["name"] and fence["mark"].startswith(opened[1])
        if is_close and opened is not None:
            at, _, is_read = opened
            body = [REASONING_TAG.sub(_words, each) for each in kept[at + 1 :]] if is_read else []
            kept[at:] = ["", *body, ""]
            opened = None
        else:
            is_read = fence["name"].lower() in _READ
            opened = (len(kept), fence["mark"], is_read)
            kept.append(line)
    if opened is not None and is_end:
        kept[opened[0] :] = ["", *kept[opened[0] + 1 :]] if opened[2] else []
    return "\n".join(kept)


def without_ticks(text: str) -> str:
    """The text without backticks. Tags, indices and backslashes between two lose the marks that would be markup."""
    if "`" not in text:
        return text
    return "\n".join(_line_without_ticks(line) if "`" in line else line for line in text.split("\n"))


def _line_without_ticks(line: str) -> str:
    if _FENCE.fullmatch(line):
        return line
    runs = list(_TICKS.finditer(line))
    partner: list[int | None] = []
    seen: dict[int, int] = {}
    for index in range(len(runs) - 1, -1, -1):
        length = len(runs[index][0])
        partner.append(seen.get(length))
        seen[length] = index
    partner.reverse()
    parts: list[str] = []
    at = index = 0
    while index < len(runs):
        closing = partner[index]
        parts.append(line[at : runs[index].start()])
        at = runs[index].end()
        if closing is not None:
            code, end = line[at : runs[closing].start()], runs[closing].end()
            words = _as_words(code)
            left = " " if code[:1].isspace() and line[runs[index].start() - 1 : runs[index].start()].isalnum() else ""
            right = " " if code[-1:].isspace() and line[end : end + 1].isalnum() else ""
            parts.append(f"{left}{words}{right}" if words else left or right)
            at, index = runs[closing].end(), closing
        index += 1
    return "".join(parts) + line[at:]


def _as_words(code: str) -> str:
    code = _INDEX.sub(r" \1", _ANGLES.sub(_words, code)).replace("`", "")
    return code.replace("\\", " ").strip()


def _words(tag: re.Match[str]) -> str:
    return f" {tag[0].strip('<>/ ')} "
