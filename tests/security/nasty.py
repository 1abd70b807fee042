"""Names that try to break out of keys or folders, and odd names that are allowed."""

from __future__ import annotations

NASTY = (
    b"", b" ", b"{", b"}", b"{}", b"{speak}", b"speak}", b"x}:audio", b"x}{speak", b"speak}:jobs", b"{s1}:audio",
    b"/", b"/etc/passwd", b"../s1", b"s1/..", b"../../makima:{speak}:jobs", b"..\\s1", b"s1\\", b"~root", b"s%31",
    b"%2e%2e%2f", b"s\x001", b"s1\n", b"\ns1", b"s1\r\nFLUSHALL\r\n", b"s1 x", b"s1\t", b"\x1b[2J", b"*", b"s?",
    b"[s1]", b"s1,s2", b"s1|id", b"$(id)", b"`id`", b"'s1'", b'"s1"', b"s1;", b"s1&", b"<s1>", b"s1!", b"@s1", b"s1=",
    b"s1+", b"a" * 129, b"a" * 100_000, b"\xff", b"\xc0\xae\xc0\xae\xc0\xaf", b"s1\xed\xa0\x80",
    *(look_alike.encode() for look_alike in (
        "ѕpeak", "ｓ１", "s１", "s\u200b1", "s\u202e1", "s1\u0301", "\u2024\u2024", "ı", "ſ1", "s\u00a01", "s1\u2028",
        "\ufeffs1", "\u2010", "\u2215etc",
    )),
)  # fmt: skip

ODD = (
    ".", "..", "...", "-", "--", ":", "::", "_", "0", "-1", "0-0", "s1", "S1", "s1.", ".s1", "s1:audio", "audio", "cut",
    "job:1-1", "jobs", "speak", "speak:jobs", "seen:x", "workers", "-rf", "NULL", "nil", "__proto__", "a" * 128,
)  # fmt: skip
