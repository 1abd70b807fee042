"""HTML: entities become their characters, tags leave nothing or a line end."""

from __future__ import annotations

import html
import re
from html.entities import html5

_DOUBLE = re.compile("&(?:amp;)+")
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")

_VALUE = r"\"[^\"\n]{0,2000}\"|'[^'\n]{0,2000}'|[^\s\"'<>=]+"
_BARE = "open|checked|disabled|hidden|reversed|controls|async|defer|required|selected"
_ATTRIBUTE = rf"\s+(?:[\w:.-]{{1,40}}\s*=\s*(?:{_VALUE})|(?:{_BARE})(?=[\s/>]))"
_TAG = re.compile(
    rf"<(?P<close>/?)\s?(?P<name>[A-Za-z][A-Za-z0-9_:.-]{{0,40}})(?P<attributes>(?:{_ATTRIBUTE})*)\s*(?P<slash>/?)>"
)
_INLINE_NAMES = """
    a b i u s p em strong span sub sup del ins img mark kbd code samp var small big cite q abbr dfn time tt font
    label speak prosody emphasis say-as phoneme voice lang w input button ruby rb rbc rtc bdi bdo wbr sentence
"""
_INLINE = frozenset(_INLINE_NAMES.split())
_BLOCK_NAMES = """
    p div br hr h1 h2 h3 h4 h5 h6 ul ol li dl dt dd table thead tbody tfoot tr td th caption blockquote pre section
    article header footer nav aside main figure figcaption form fieldset legend address details summary html head
    body title option select break paragraph center
"""
_BLOCK = frozenset(_BLOCK_NAMES.split())
_SOFT = frozenset({"br"})  # a line end that a sentence may run over
_HOLDING = re.compile(r"<(?:!--|(?P<name>script|style|rt|rp)(?:\s[^<>]*)?>)", re.IGNORECASE)
_ENDS = {
    "!--": re.compile("-->"),
    "script": re.compile(r"</script\s*>", re.IGNORECASE),
    "style": re.compile(r"</style\s*>", re.IGNORECASE),
    "rt": re.compile(r"</rt\s*>|(?=<r[tp][\s>]|</ruby)", re.IGNORECASE),
    "rp": re.compile(r"</rp\s*>|(?=<r[tp][\s>]|</ruby)", re.IGNORECASE),
}
_DECLARATION = re.compile(r"<(?:!doctype|\?xml)\b[^<>]{0,200}>|<!\[CDATA\[|\]\]>", re.IGNORECASE)
_EMOJI_OR_MENTION = (
    r"<(?:a?:\w{1,32}:|@[!&]?|#|t:|/[\w -]{1,64}:|@[UWC](?=[A-Z0-9]{7}))[0-9A-Z]{5,24}(?::[A-Za-z])?(?:\|[^<>|]*)?>"
)
_CHAT = re.compile(rf" ?{_EMOJI_OR_MENTION}(?=[\s.,!?;:…]|\Z)|{_EMOJI_OR_MENTION}")
_TOKEN = re.compile(r"<\|[^\s<>|]{0,64}\|>|</?tts_\w{1,32}>")
_AUTOLINK = re.compile(r"<((?:https?://|mailto:)[^\s<>]*)>", re.IGNORECASE)


def without_entities(text: str) -> str:
    """The text with each HTML entity that ends in ; as its characters, however often it was escaped."""
    if "&" not in text or ";" not in text:
        return text
    return _ENTITY.sub(_character, _DOUBLE.sub("&", text))


def without_tags(text: str) -> str:
    """The text without tags. A comparison, and another word in angle brackets, stays."""
    if "<" not in text:
        return text
    text = _without_held(_TOKEN.sub(" ", text))
    text = _CHAT.sub("", _AUTOLINK.sub(r"\1", _DECLARATION.sub("", text)))
    closed = {tag["name"].lower(): tag.start() for tag in _TAG.finditer(text) if tag["close"]}

    def replaced(tag: re.Match[str]) -> str:
        name = tag["name"].lower()
        if name in _BLOCK:
            return "\n" if name in _SOFT else "\n\n"
        is_tag = (
            tag["close"] or tag["slash"] or tag["attributes"] or name in _INLINE or closed.get(name, -1) > tag.start()
        )
        return "" if is_tag else tag[0]

    return _TAG.sub(replaced, text)


def _character(entity: re.Match[str]) -> str:
    if entity[0][1] == "#":
        return html.unescape(entity[0])
    return html5.get(entity[0][1:], entity[0])


def _without_held(text: str) -> str:
    """The text without comments, scripts, styles and readings of ruby."""
    kept: list[str] = []
    never_closed: set[str] = set()
    at = 0
    for opening in _HOLDING.finditer(text):
        name = (opening["name"] or "!--").lower()
        if opening.start() < at or name in never_closed:
            continue
        end = _ENDS[name].search(text, opening.end())
        if end is None:
            never_closed.add(name)
            continue
        kept.append(text[at : opening.start()])
        at = end.end()
    return "".join(kept) + text[at:]
