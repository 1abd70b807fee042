"""Character normalisation: one spelling for each character; emoji and control characters are removed.

NFC, not NFKC: NFKC turns x² into x2, ½ into 1⁄2 and the Japanese ～ and ！ into other marks. Of NFKC, speech needs that
full-width letters and digits become ASCII and half-width kana full-width. Japanese punctuation stays.

Emoji are ranges and not Unicode properties: Emoji_Presentation and Extended_Pictographic leave some 1,400 pictures
such as ★, ♔ and ✓ in the text and take ©, ™ and ‼ out of it.
"""

from __future__ import annotations

import re
import unicodedata

_EMOJI_SIGN = (
    "\u231a\u231b\u2328\u23cf\u23e9-\u23f3\u23f8-\u23fa\u25aa\u25ab\u25b6\u25c0\u25fb-\u25fe\u2600-\u2775\u2794-\u27bf\u2b1b\u2b1c"
    "\u2b50\u2b55\U0001f000-\U0001faff"
)
_JOINED = "\u200d\ufe0e\ufe0f\u20e3\U000e0020-\U000e007f"
_SHOWN_AS_EMOJI = "\u2139\u2190-\u21ff\u2900-\u297f\u2b00-\u2bff\u3030\u303d\u3297\u3299"
_EMOJI = re.compile(rf"[0-9#*]\ufe0f?\u20e3|[{_SHOWN_AS_EMOJI}]\ufe0f\u20e3?|[{_EMOJI_SIGN}][{_EMOJI_SIGN}{_JOINED}]*")
_GONE = "\x1a"  # replaces an emoji for a while; the text has no other control character then
_GONE_BEFORE_MARK = re.compile(
    rf"(?:(?<!{_GONE}) {_GONE}|(?<![ {_GONE}]){_GONE})[ {_GONE}]*(?=[.,!?;:)…。！？、」』）])"
)

_CONTROL = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u08e2\u180e\u200b\u200c\u200e\u200f"
    "\u202a-\u202e\u2060-\u206f\ufeff\ufff0-\uffff\ud800-\udfff\ue000-\uf8ff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000f0000-\U0010ffff]"
)
_ASCII_CONTROL = re.compile("[\x00-\x08\x0e-\x1b\x7f]")
_JOINERS = re.compile("[\u200d\u20e3\ufe00-\ufe0f\U000e0000-\U000e0fff]")
_PILE = re.compile(r"(?<=[^\w\s\x00-\u02ff]{30})[^\w\s\x00-\u02ff]+")  # marks on one letter; UAX #15 allows 30
_LONG_PILE = re.compile(r"[^\x00-\u02ff\w\s]{31}")
_LINE_END = re.compile("\r\n?|[\x85\u2028\u2029]")
_BLANKS = re.compile(r"[^\S\n ][^\S\n]*| [^\S\n]+")
_HALF_WIDTH = re.compile("[\uff61-\uff9f]+")
_POINT_IN_NUMBER = re.compile("[．，](?<=[0-9].)(?=[0-9])")
_DASH_IN_WORD = re.compile(r"(?<=\w)–(?=\w)")
_DOUBLE_HYPHEN = re.compile(r"--(?:(?<=\s--)(?=\s)|(?<=[^\W\d_]--)(?=[^\W\d_]))")
_LONG_DASH = re.compile("[—–]+")

_KEPT_FULL_WIDTH = "！（），．：；？［］｛｝～"
_SPELLING = {
    **{code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F) if chr(code) not in _KEPT_FULL_WIDTH},
    **{ord("〝"): "“", ord("〞"): "”", ord("〟"): "”"},
    **dict.fromkeys(map(ord, "‘’‚‛´ʼ"), "'"),
    **dict.fromkeys(map(ord, "‐‑‒−﹣"), "-"),
    **dict.fromkeys(map(ord, "―⸺⸻"), "—"),
    **dict.fromkeys(map(ord, "⋯‥"), "…"),
    **{ord("￥"): "¥", ord("￡"): "£", ord("￦"): "₩", ord("‼"): "!!", ord("⁉"): "!?", ord("⁈"): "?!"},
}
_RESPELT = re.compile(f"[{re.escape(''.join(map(chr, _SPELLING)))}]")
_LETTERS = {
    **{code: unicodedata.normalize("NFKC", chr(code)) for code in (*range(0x1D400, 0x1D800), *range(0xFB00, 0xFB07))},
    **{code: chr(ord("a") + code - 0x249C) for code in range(0x249C, 0x24B6)},
    **{code: unicodedata.normalize("NFKC", chr(code)) for code in range(0x24B6, 0x24EA)},
    **{first + n: chr(ord("A") + n) for first in (0x1F110, 0x1F130, 0x1F150, 0x1F170) for n in range(26)},
    **{  # the script and black-letter capitals that U+1D400 to U+1D7FF leave out
        code: unicodedata.normalize("NFKC", chr(code))
        for code in range(0x2102, 0x2139)
        if unicodedata.decomposition(chr(code)).startswith("<font>")
    },
}
_DECORATIVE = re.compile("[\u2102-\u2138\u249c-\u24e9\ufb00-\ufb06\U0001d400-\U0001d7ff\U0001f110-\U0001f189]")
_DRAWN_OUT = re.compile(r"([^\W\d_])\1{8,}")  # a joke of a thousand letters is minutes of sound
_SPACED_DOTS = re.compile(r" ?\.+(?: \.+(?!\w))+")
_QUOTES = dict.fromkeys(map(ord, "“”„‟"), '"')


def normalise(text: str) -> str:
    """The text with one spelling for each character and single blanks, without emoji and control characters.

    Every line end becomes \\n. Quotation marks keep their direction (`respell_quotes`). Idempotent.
    """
    text = _LINE_END.sub("\n", text)
    if text.isascii():
        text = _ASCII_CONTROL.sub("", text)
    else:
        text = _CONTROL.sub("", text)
        if _DECORATIVE.search(text):
            text = text.translate(_LETTERS)
        text = whole = composed(text)
        text = _EMOJI.sub(_GONE, text)
        text = _HALF_WIDTH.sub(_full_width, _JOINERS.sub("", text))
        text = _RESPELT.sub(lambda char: _SPELLING[ord(char[0])], text)
        text = _POINT_IN_NUMBER.sub(_ascii_point, text)
        if text != whole:
            text = composed(text)
        if "–" in text:
            text = _DASH_IN_WORD.sub("-", text)
        text = _LONG_DASH.sub("—", text)
    text = _BLANKS.sub(" ", text)
    if _GONE in text:
        text = _BLANKS.sub(" ", _GONE_BEFORE_MARK.sub("", text).replace(_GONE, " "))
    if ". ." in text:
        text = _SPACED_DOTS.sub("…", text)
    if any(
        a == b == c == d and a.isalpha()
        for a, b, c, d in zip(text[::4], text[1::4], text[2::4], text[3::4], strict=False)
    ):
        text = _DRAWN_OUT.sub(lambda run: run[0][:8], text)  # a run of nine has four of these in a row
    return _DOUBLE_HYPHEN.sub("—", text) if "--" in text else text


def full_stop(text: str) -> str:
    """The full stop of the script in which the text ends."""
    return "。" if text[-1] >= "\u3001" and not "\uac00" <= text[-1] <= "\ud7a3" else "."


def respell_quotes(text: str) -> str:
    """The text with “ ” „ ‟ as \". For after the cuts, which need to know an opening mark from a closing one."""
    return text if text.isascii() else text.translate(_QUOTES)


def composed(text: str) -> str:
    """The text in NFC, with at most 30 combining marks in a row: NFC sorts them in quadratic time."""
    if text.isascii():
        return text
    if _LONG_PILE.search(text):
        text = _PILE.sub("", text)
    return unicodedata.normalize("NFC", text)


def _full_width(kana: re.Match[str]) -> str:
    return unicodedata.normalize("NFKC", kana[0])


def _ascii_point(mark: re.Match[str]) -> str:
    return "." if mark[0] == "．" else ","
