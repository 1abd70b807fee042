"""Numbers in brackets that cite a source, footnotes, and links by reference."""

from __future__ import annotations

import re

from worker.text.addresses import TARGET
from worker.text.words import REMARKS, needing_number

_DIGITS = r"\d{1,3}(?:\s?[,;–—-]\s?\^?\d{1,3}){0,30}"
_SOURCE = r"(?:†[^\[\]【】［］\n]{0,80})?"
_CITATION = (
    rf"(?:\[\s?\^?(?!0\]){_DIGITS}\^?\s?{_SOURCE}\]|[［【]\s?{_DIGITS}(?::\d{{1,4}})?\s?{_SOURCE}[］】]"
    r"|\(\[\d{1,3}\](?:[,;]? ?\[\d{1,3}\]){0,30}\))"
)
_BETWEEN = "and|to|und|bis|et|à|y|a|e|и|до|和|と|및"
_RUN = re.compile(rf"(?P<blank> ?)(?P<run>{_CITATION}(?:(?: ?[,;—-]? ?| (?:{_BETWEEN}) ){_CITATION}){{0,30}})(?!\()")
_MAY_CITE = re.compile(r"[\[［【]\s?\^?\d")
_MAY_REMARK = re.compile(r"\[ ?[^\W\d_]|\[ ?¿")
_WORD_BEFORE = re.compile(r"[^\W\d_][\w'’.-]{0,15}\Z|[一-鿿가-힣ぁ-ん]{1,4}\Z")
_NEVER_CITED = "=<>|([{（［「『【《〈¿¡@\\"
_CITED_IN_WORD = ":+-—/#&~^“„«"  # counts as a part of a word that it stands behind
_IS_NOUN = re.compile(r"[をにでのはがとよか]|에|을|를|은|는|의|과|와")  # behind a number: a particle
_PARTICLES = "はをにのやとで、"
_SENTENCE_ENDS = ".!?…。！？"
_FOOTNOTE = re.compile(r" ?\[\^[^\[\]\s]{1,40}\](?!:)")
_NOTE = re.compile(r"^([ \t>]*)\[(?:\^[^\[\]\s]{1,40}|\d{1,3})\]:[ \t]*(?!https?:|www\.|[/#<])", re.MULTILINE)
_DEFINITION = re.compile(
    r"^[ \t>]*\[([^\[\]\n]{1,200})\]:[ \t]*<?(?:https?:|www\.|mailto:|[/#.]).*$\n?", re.MULTILINE | re.IGNORECASE
)
_REFERENCE = re.compile(r"!?\[([^\[\]\n]{1,400})\](?:[ ]?\[([^\[\]\n]{0,200})\])?(?![(:])")
_LINKED = re.compile(rf"(?<!!)\[(?:\[|\\\[)?\s?(\^?{_DIGITS}\^?\s?{_SOURCE})\\?\]\]?{TARGET}")
_BING = re.compile(r"\[\[(\d{1,3})\]\]")
_REMARK = re.compile(rf" ?\[ ?(?:{REMARKS})\.?\](?![(\[:])", re.IGNORECASE)
_GLUED = re.compile(r"\[(?<=[^\W\d_]\[)(?!ing\])([^\W\d_\u2e80-\uffff]{3,}[!?]?(?: [^\[\]\n]{1,60})?)\](?![^\W_])")


def without_references(text: str) -> str:
    """The text with links by reference as their words, without the definitions and without the marks of footnotes."""
    if "[" not in text:
        return text
    text = _BING.sub(r"[\1]", _LINKED.sub(r"[\1]", text))
    labels = {found[1].casefold() for found in _DEFINITION.finditer(text)}
    if labels:
        text = _DEFINITION.sub("", text)

        def shown(found: re.Match[str]) -> str:
            label = found[2] or found[1]
            if found[2] is None and label.isdecimal():
                return found[0]  # a citation
            return _apart(found, found[1]) if label.casefold() in labels else found[0]

        text = _REFERENCE.sub(shown, text)
    text = _FOOTNOTE.sub("", _NOTE.sub(r"\1", text))
    return _GLUED.sub(r" \1", _REMARK.sub("", text)) if _MAY_REMARK.search(text) else text


def without_citations(text: str, language: str) -> str:
    """The text without one to three digits in brackets after a word or a mark, unless the sentence needs them."""
    if not _MAY_CITE.search(text):
        return text
    needing = needing_number(language)

    def replaced(found: re.Match[str]) -> str:
        at = found.start()
        before = text[at - 1 : at]
        if not _may_be_cited(text, found) or _is_needed(text, found, needing):
            return found[0]
        after = text[found.end() : found.end() + 1]
        return " " if after.isalnum() and not before > "\u2e80" else ""

    return _RUN.sub(replaced, text)


def _may_be_cited(text: str, found: re.Match[str]) -> bool:
    at = found.start()
    before = text[at - 1 : at]
    if not before or before.isspace() or before in _NEVER_CITED or (before == ":" and found["blank"]):
        return False
    return before not in _CITED_IN_WORD or bool(text[max(0, at - 2) : at - 1].strip())


def _is_needed(text: str, found: re.Match[str], needing: frozenset[str]) -> bool:
    at = found.start()
    before = text[max(0, at - 16) : at]
    if (found["blank"] or before[-1] in _PARTICLES) and _IS_NOUN.match(text, found.end()):
        return True
    if before[-1] in _SENTENCE_ENDS and found["blank"] and text[found.end() : found.end() + 1] == " ":
        word = _WORD_BEFORE.search(before.rstrip("."))
        is_abbreviation = before[-1] == "." and word is not None and word[0].lower().rstrip(".") in needing
        return is_abbreviation or text[found.end() + 1 : found.end() + 2].islower()
    word = _WORD_BEFORE.search(before.rstrip(".") if before[-1] == "." else before)
    if word is None:
        return False
    spoken = word[0].lower().rstrip(".")
    return spoken in needing or (
        spoken[-1] > "\u2e80" and any(spoken.endswith(each) for each in needing if each > "\u2e80")
    )


def _apart(found: re.Match[str], words: str) -> str:
    """Words of a link, with a blank after a letter that they would touch."""
    before = found.string[max(0, found.start() - 1) : found.start()]
    return f" {words}" if before.isalnum() and before < "\u2e80" and words[:1].isalnum() else words
