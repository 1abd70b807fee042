"""Cleaning: a chat model's text without what should not be spoken.

`clean` is idempotent. The removal of one mark may uncover another, so it is repeated until nothing changes. A text that
still changes after eight rounds was nested on purpose and loses all that is no letter, digit or blank.
"""

from __future__ import annotations

import re

from worker.text.characters import composed, normalise
from worker.text.citations import without_citations, without_references
from worker.text.code import without_fences, without_open_fence, without_ticks
from worker.text.directions import Actions, with_actions, without_directions
from worker.text.lines import strip_lines
from worker.text.markup import break_at_rules, strip_inline, strip_wiki
from worker.text.maths import without_maths
from worker.text.reasoning import without_reasoning
from worker.text.tags import without_entities, without_tags

_MAX_ROUNDS = 8

_NOT_PLAIN = re.compile(
    r"[^A-Za-z0-9 ,.!?'\"();:$%&@ぁ-ゖァ-ヺー々一-鿿。、！？「」『』（）-]"
    r"|  |--|:/|\.{4}|!{4}|\?{4}|,{4}|。{4}|、{4}|！{4}|？{4}"
    r"|&#?\w+;|\$[^ $][^$]{0,400}\$|\. \.|\d[.)、]|[一-鿿々][(（]|([A-Za-zぁ-ゖァ-ヺー々一-鿿])\1{8}|(?<!\S)[^\w\s]{4,}"
    r"|www\.|mailto:|(?<!\S):[a-z+-][\w+-]*:",
    re.IGNORECASE,
)
_SPECIAL = re.compile(r"[^\w ]|_")
_ESCAPED_LINE_END = re.compile(
    r"\\(?<!\\\\)(?:\\*r\\+n|\\*n)(?=[\s\\\d\-*#>•¿¡«“「『(\[]|\Z|[^\W\d_](?<![a-zß-öø-ÿа-яёğışœ]))"
)
_BLANKS = re.compile(r" {2,}")
_BEFORE_MARK = re.compile(r" (?<=\w ) *(?=[.,](?:\s|\Z))")
_SPEAKABLE = re.compile(r"[^\W_]")


def is_speakable(text: str) -> bool:
    """True when the text has a letter or a digit."""
    return _SPEAKABLE.search(text) is not None


def clean(text: str, language: str = "Auto", actions: Actions = "speak") -> str:
    """The text as it should be spoken, or "" when it has no letter and no digit.

    It removes reasoning, code in fences that name a language, tags, Markdown, citations, special tokens, emoji and
    control characters, puts LaTeX into words, shortens URLs to their host, and normalises characters and whitespace.
    Lines are separated by \\n. language: an English name such as "English", whose words decide where a broken line
    goes on and which number in brackets is needed; "Auto" for the words of all languages. actions: whether *actions*
    between sentences are spoken.
    """
    if _is_plain(text):
        return text if is_speakable(text) else ""
    for _ in range(_MAX_ROUNDS):
        before, text = text, _peel(text, language, actions)
        if text == before or _is_plain(text):
            break
    else:
        text = _peel(_SPECIAL.sub(" ", text), language, actions)
    return text if is_speakable(text) else ""


def _is_plain(text: str) -> bool:
    """True when `clean` would not change the text. May return False for such a text too."""
    return bool(text) and text[0] not in " -" and text[-1] != " " and _NOT_PLAIN.search(text) is None


def _peel(text: str, language: str, actions: Actions) -> str:
    text = without_fences(normalise(without_entities(text)))
    text = without_open_fence(without_reasoning(without_ticks(text)))
    if "\\" in text:
        text = _ESCAPED_LINE_END.sub("\n", text)
    text = strip_wiki(without_maths(without_tags(text)))
    text = without_directions(without_citations(without_references(text), language))
    text = with_actions(break_at_rules(text), actions)
    text = _BLANKS.sub(" ", strip_inline(strip_lines(text, language)))
    if "\n" in text:
        text = "\n".join(filter(None, map(str.strip, text.split("\n"))))
    return composed(_BEFORE_MARK.sub("", text).strip())
