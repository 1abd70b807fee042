"""Values that parsers stumble over: extreme numbers, odd characters, bytes that are no text."""

from __future__ import annotations

from random import Random

INTEGERS = (
    0, 1, -1, 2, 7, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53 - 1,
    2**53,
    2**63 - 1, 2**63, 2**64 - 1, -128, -129, -(2**31), -(2**63),
)  # fmt: skip
FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 2.0, 2.0000001, 1e-320, 1e308, float("inf"), float("-inf"), float("nan"))
NUMERALS = (
    "", "0", "00", "-0", "+1", "-1", "1", "01", "1.", ".5", "1.0", "1e0", "1e999", "-1e-999", "0x10", "1_000",
    " 1", "1 ",
    "1\n", "nan", "NaN", "inf", "-Infinity", "٣", "１", "²", "Ⅷ", "9" * 19, "9" * 20, "1" * 33, "1" * 5000,
    "0." + "0" * 30 + "1",
    "9223372036854775807", "9223372036854775808", "18446744073709551616", "300000", "300001", "2.0",
    "2.00000000000000000001",
    "8000", "24000", "48000", "11025",
)  # fmt: skip
CHARACTERS = (
    "\0", "\x01", "\x1a", "\x1b", "\x7f", "\x85", "\xa0", "\xad", "\u0300", "\u0316", "\u0334", "\u0345", "\u034f",
    "\u0600",
    "\u061c", "\u1160", "\u115f", "\u1e9b", "\u200b", "\u200d", "\u200e", "\u202e", "\u2028", "\u2029", "\u2060",
    "\u2066",
    "\u3000", "\u3099", "\u309a", "\ufe0f", "\ufeff", "\ufffd", "\uffff", "\ufdfa", "\u0958", "\u0f77",
    "\U0001d160",
    "\U0001f1ef\U0001f1f5", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f44d\U0001f3fd", "\U000e0041",
    "\U000f0000",
    "\U0010ffff", "ß", "İ", "ı", "ﬁ", "ŉ", "ǰ", "Å", "가", "각", "ｶﾞ", "Ａ", "〜", "～", "…", "‼", "½", "①", "㍻", "﷽",
)  # fmt: skip
NOT_UTF8 = (
    b"\xff", b"\xfe\xff", b"\x80", b"\xc0\x80", b"\xc1\xbf", b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xf4\x90\x80\x80",
    b"\xf8\x88\x80\x80\x80", b"\xe3\x81", b"\xf0\x9f\x91", b"caf\xe9",
)  # fmt: skip
STRINGS = (
    "", " ", "\n", "0", "null", "true", "s1", "a" * 128, "a" * 129, "../../etc/passwd", "/dev/zero", "%s%n", "{0}",
    "{}",
    "{s1}", "$ref", "__class__", "[bold]", "\r\n", "-", "'", '"', "\\", "あ" * 64,
)  # fmt: skip


def string(draw: Random, max_chars: int = 12) -> str:
    """A short text of odd characters, or one of the strings above."""
    if draw.random() < 0.3:
        return draw.choice(STRINGS)
    ordinary = "abcXYZ019 ._:-"
    return "".join(
        draw.choice(CHARACTERS) if draw.random() < 0.4 else draw.choice(ordinary)
        for _ in range(draw.randrange(max_chars))
    )


def integer(draw: Random) -> int:
    return draw.choice(INTEGERS) + (draw.randrange(-2, 3) if draw.random() < 0.3 else 0)


def bytes_of_some_kind(draw: Random) -> bytes:
    """A short value for a field of bytes."""
    kind = draw.randrange(5)
    if kind == 0:
        return draw.choice(NUMERALS).encode()
    if kind == 1:
        return draw.choice(NOT_UTF8)
    if kind == 2:
        return string(draw).encode()
    if kind == 3:
        return draw.randbytes(draw.randrange(24))
    return draw.choice((b"a", b" ", b"\0", b"\xff", b"9", "あ".encode())) * draw.choice(
        (1, 127, 128, 129, 5000, 20_001, 100_000)
    )
