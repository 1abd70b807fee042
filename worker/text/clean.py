"""Cleaning: what a chat model wrote, as it should be spoken.

`clean` is idempotent. Taking one mark away may bring another to light, so markup is peeled until nothing changes; a
text that still changes after a few rounds was nested to make trouble and loses its special characters altogether.
"""

from __future__ import annotations

import re

from worker.text.characters import composed, normalise
from worker.text.markup import strip_inline, strip_lines

_MAX_ROUNDS = 6

_NOT_PLAIN = re.compile(r"[^A-Za-z0-9 ,.!?'\"();:$%&@ぁ-ゖァ-ヺー々一-鿿。、！？「」『』（）-]")
_NOT_PLAIN_PAIRS = (
    "  ", "--", ":/", "....", "!!!!", "????", ",,,,", "。。。。", "、、、、", "！！！！", "？？？？",
)  # fmt: skip
_MAY_HIDE_MORE = re.compile(r"[*_`~<>\[\]|#\n]|--|://|www\.|mailto:|[．，]|\A[-+•‣◦○・●■◆=]", re.IGNORECASE)
_SPECIAL = re.compile(r"[^\w\s.,!?'…。！？、「」]|_|\n|\.(?!\s)")
_BLANKS = re.compile(r" {2,}")
_SPEAKABLE = re.compile(r"[^\W_]")


def is_speakable(text: str) -> bool:
    """Whether there is anything to say: a letter or a digit."""
    return _SPEAKABLE.search(text) is not None


def clean(text: str) -> str:
    """The text as it should be spoken, or "" when it says nothing.

    Takes out markdown, tags, special tokens, emoji and control characters, shortens URLs to their host, and brings
    quotes, dashes, widths and whitespace into one spelling. Lines are separated by \\n. Words are never dropped.
    """
    if _is_plain(text):
        return text if is_speakable(text) else ""
    for _ in range(_MAX_ROUNDS):
        before, text = text, _peel(text)
        if text == before or not _MAY_HIDE_MORE.search(text):
            break
    else:
        text = _peel(_SPECIAL.sub(" ", text))
    return text if is_speakable(text) else ""


def _is_plain(text: str) -> bool:
    """Whether the text is already what `clean` would make of it; says no when in doubt."""
    if _NOT_PLAIN.search(text) or not text or text[0] in " -" or text[-1] == " ":
        return False
    return "www." not in text.lower() and "mailto:" not in text and not any(pair in text for pair in _NOT_PLAIN_PAIRS)


def _peel(text: str) -> str:
    text = _BLANKS.sub(" ", strip_inline(strip_lines(normalise(text))))
    if "\n" in text:
        text = "\n".join(filter(None, map(str.strip, text.split("\n"))))
    return composed(text.strip())
