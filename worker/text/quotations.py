"""Quotations: whether a sentence goes on after the quotation or bracket that has closed."""

from __future__ import annotations

import re

from worker.text.stops import next_word

_BRACKET_OR_DASH = re.compile(r" ?[(\[（［—–,;:，、；：]")
_HANGUL = re.compile("[\uac00-\ud7a3]")
_PARTICLE = re.compile(
    "(?!どう|でも|だが|だから|はい|もう|なぜ|ところ|とても|やが|かれ|にも)[とってをはがものにでやなへよか]"
)
_SPEAKS = re.compile(  # a verb of speech before the next mark; the splitter sees LOOKAHEAD_CHARS of it
    r" (?:(?:Mrs?|Ms|Dr)\. )?(?:I|[A-Z][a-z]+)"
    r" (?:said|ask|cri(?:ed|es)|repl|shout|whisp|answ|call|yell|add|mutter|murmur|exclaim|insist)"
    r"|[^。，、！？：；「」“”‘’\"\s]{0,8}?(?:说(?!明)|說(?!明)|问(?!题)|問(?!題)|(?<!知)道|喊|嚷|叫|答(?!案)|吼)"
    r"|[^。、！？「」\s]{0,8}?(?:言っ|言い|尋ね|聞い|答え|叫ん|囁|呟|つぶや|ささや)"
    r"|[^.,!?\"“”]{0,12}?(?:물었|물어|말했|대답|외쳤|소리쳤|속삭|중얼)"
)


def goes_on_after(after: str) -> bool:
    """True when a sentence goes on after a quotation that ends in a stop. after: the text from its closing mark on."""
    if _BRACKET_OR_DASH.match(after) or _HANGUL.match(after) or _PARTICLE.match(after):
        return True
    return (after[:1] == " " and next_word(after)[:1].islower()) or _SPEAKS.match(after) is not None
