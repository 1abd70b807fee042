"""Reasoning: what a model thinks, and the tools that it calls, in tags of their own."""

from __future__ import annotations

import re

_NAMES = (
    "think|thinking|thought|reasoning|reflection|scratchpad|analysis|tool|tool_call|tool_result|tool_response"
    "|function|function_call"
)
TAG = re.compile(rf"<\s*(?P<close>/?)\s*(?P<name>{_NAMES})(?:\s*=[^<>]*|\s+[\w:.-]+\s*=[^<>]*)?\s*/?>", re.IGNORECASE)


def without_reasoning(text: str) -> str:
    """The text without reasoning tags and what they hold.

    A closing tag alone takes all that precedes it, an opening tag alone all that follows. A tag inside another of its
    name is part of it.
    """
    if "<" not in text:
        return text
    tags = [tag for tag in TAG.finditer(text) if not tag[0].endswith("/>")]
    if not tags:
        return text
    last_close = {tag["name"].lower(): index for index, tag in enumerate(tags) if tag["close"]}
    kept: list[str] = []
    at = index = 0
    while index < len(tags):
        tag, name = tags[index], tags[index]["name"].lower()
        if tag["close"]:
            kept.clear()
            at = tag.end()
        else:
            kept.append(text[at : tag.start()])
            closing = _closing(tags, index, name) if last_close.get(name, -1) > index else None
            if closing is None and last_close.get(name, -1) > index:
                closing = last_close[name]
            if closing is None:
                rest = [each for each in range(index + 1, len(tags)) if tags[each]["close"]]
                return _after_lone_closing(text, tags, rest[-1]) if rest else "".join(kept)
            at, index = tags[closing].end(), closing
            kept.append(_gap(kept[-1], text[at : at + 1]))
        index += 1
    return "".join(kept) + text[at:]


def _after_lone_closing(text: str, tags: list[re.Match[str]], closing: int) -> str:
    return without_reasoning(text[tags[closing].end() :])


def _closing(tags: list[re.Match[str]], opening: int, name: str) -> int | None:
    depth = 0
    for index in range(opening, len(tags)):
        if tags[index]["name"].lower() == name:
            depth += -1 if tags[index]["close"] else 1
            if depth == 0:
                return index
    return None


def _gap(before: str, after: str) -> str:
    return " " if before[-1:].isalnum() and after.isalnum() else ""
