"""Cleaning: a chat model's text without what should not be spoken.

`clean` is idempotent. The removal of one mark may uncover another, so it is repeated until nothing changes. A text that
still changes after six rounds was nested on purpose and loses all its special characters.
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
    """True when the text has a letter or a digit."""
    return _SPEAKABLE.search(text) is not None


def clean(text: str) -> str:
    """The text as it should be spoken, or "" when it has no letter and no digit.

    It removes Markdown, tags, special tokens, emoji and control characters, shortens URLs to their host, and normalises
    quotes, dashes, widths and whitespace. Lines are separated by \\n. Words are never dropped.
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
    """True when `clean` would not change the text. May return False for such a text too."""
    if _NOT_PLAIN.search(text) or not text or text[0] in " -" or text[-1] == " ":
        return False
    return "www." not in text.lower() and "mailto:" not in text and not any(pair in text for pair in _NOT_PLAIN_PAIRS)


def _peel(text: str) -> str:
    text = _BLANKS.sub(" ", strip_inline(strip_lines(normalise(text))))
    if "\n" in text:
        text = "\n".join(filter(None, map(str.strip, text.split("\n"))))
    return composed(text.strip())
