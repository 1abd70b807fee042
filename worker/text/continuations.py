"""Continuations: texts that may follow a text which is still being written, one for each way in which it may change.

What cleaning makes of a text's end depends on what follows. A mark that is open may close and go, a line may turn out
to be broken, a heading or a row of a table. The cleaned texts of all continuations begin with what nothing changes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from worker.text.lists import NUMBER
from worker.text.reasoning import TAG
from worker.text.tags import without_entities

HELD_CHARS = 400  # an open mark that is farther from the text's end counts as its characters

PLAIN = " xx xx"  # the first continuation: words that change nothing
_ALWAYS = ("", "xx xx", ". Xx xx", "\n\nXx")
_AFTER_A_LINE_END = ("\nXx", "\nxx")
_CLOSERS = {
    "*": ("x* x", "x** x", "x*** x", "x*"),
    "_": ("x_ x", "x__ x", "x___ x"),
    "~": ("x~~ x", "x~ x", "\n~~~\nx"),
    "=": ("x== x",),
    "|": ("x|| x", "x | x\n|---|---|\nx", "x |\nx", "\n|---|---|\nx", "|---|---|\nx", "- | ---\nx", " | ---\nx"),
    "`": ("x` x", "x`` x", "x``` x", "\n```\nx"),
    "[": ("x] x", "x](x.y/z) x", "x]] x", "] x", "](x.y/z) x", "x.y/z) x", ") x"),
    "]": ("(x.y/z) x", "[x](x.y/z) x"),
    "［": ("x］ x", "］ x"),
    "【": ("x】 x", "】 x"),
    "<": ("x> x", "='x'> x", "'> x", '"> x', "--> x", "|> x"),
    "$": ("x$ x", "x$$ x"),
    "\\": ("x\\) x", "x\\] x", "x} x"),
    "{": ("x} x",),
    "&": ("x; x",),
}
_READING = re.compile("[一-鿿㐀-䶿々〆ヶ][(（《][^)）》]*\\Z")
_OPENS_NO_FORMULA = re.compile(  # a price, or the sign of a currency that has letters before it or its number behind it
    r"(?<=[A-Za-z0-9])\$|\$(?=\s)"
    r"|\$\d[\d.,]*(?:[kKmMbB]|bn)?(?=[ -](?:[^\W\d_]{2}|[^\W\d_] [^\W\d_]{2})|[.,;:!?)]*(?:\s|\Z))"
)
_LABEL = re.compile(r"\[([^\[\]\n]{1,200})\] ?\[([^\[\]\n]{0,200})\]")
_NAME = re.compile(r"<([A-Za-z][\w:.-]{0,40})")
_ENVIRONMENT = re.compile(r"\\begin\{(\w{1,20}\*?)\}")


def continuations(text: str, start: int) -> Iterator[str]:
    """What may follow the text; closing marks for what opened from `start` on, in its last characters."""
    yield from _ALWAYS
    near = without_entities(text[max(start, len(text) - HELD_CHARS) :])
    if text.lstrip()[:3] in ("---", "+++"):
        yield from ("\n---\nx", ": x\n---\nx", "\n+++\nx", " = x\n+++\nx")
    if _READING.search(text, max(0, start - 2)):
        yield from ("ー) x", "ー） x", "ー》 x")
    if "\n" in text:
        yield from _AFTER_A_LINE_END
        yield " xx" * max(20, *map(len, text.split("\n")))  # a longer line
    for mark, closers in _CLOSERS.items():
        if mark in near:
            yield from closers
    if "$" in _OPENS_NO_FORMULA.sub("", near):
        yield "=x$ x"
    if labels := {label or words for words, label in _LABEL.findall(near)}:
        yield "".join(f"\n\n[{label}]: https://x.y" for label in labels)
    if "<" in near:
        names = set(_NAME.findall(near))
        yield from (f"x</{name}> x" for name in names if not TAG.fullmatch(f"<{name}>"))
    if "\\begin" in near:
        yield from (f"x\\end{{{name}}} x" for name in set(_ENVIRONMENT.findall(near)))
    line = near[near.rfind("\n") + 1 :]
    for n, stop in {(int(item["n"]), item["stop"]) for item in NUMBER.finditer(line)}:
        yield f"x. {n + 1}{stop} x"
