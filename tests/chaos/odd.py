"""Odd values, as an operator, another program or another release may leave them in a key."""

from __future__ import annotations

import random
from collections.abc import Callable

HOUR_MS = 3_600_000
ENDLESS = b"18446744073709551615-18446744073709551615"  # the highest id of a stream: nothing can follow it
BINARY = b"\xff\xfe\x00\x80odd\r\n"

WORDS = (
    b"", b" ", b"oops", b"-1", b"0", b"1.5", b"1e400", b"inf", b"-inf", b"nan", b"12345678901234567890123",
    b"null", b"[]", b"{}", b"0x10", "１".encode(), BINARY, b"9" * 400, b"x" * 100_000,
)  # fmt: skip
IDS = (
    *WORDS, b"1-1-1", b"1-", b"-", b"+", b"$", b">", b"*", b"1-0 ", b" 1-0", b"1.5-0", b"-1--1", b"0-0", b"1-1", b"1-x",
    b"12345678901234567890123-0", b"1-12345678901234567890123", b"18446744073709551616-0", ENDLESS, "１-０".encode(),
)  # fmt: skip
SESSIONS = (b"", b"odd session", b"a\nb", BINARY, b"x" * 200, b"odd", b"{odd}", b"odd:1")
SCORES = (b"-inf", b"inf", b"-1", b"0", b"0.5", b"1", b"1e300", b"9007199254740993")
RECORDS = (
    *WORDS, b"1 ", b" 1", b"1 2 3", b"-1 -1", b"1 x", b"inf nan", b"1 1e400", b"99999999999999999999 1", b"1  2",
    b"1 12345678901234567890123", b"1 1", b"0 0",
)  # fmt: skip
CARDS = (
    *WORDS, b"not json", b'"beat"', b'{"beat":"x"}', b'{"beat":-1}', b'{"beat":1e999}', b'{"beat":null}',
    b'{"beat":NaN}', b'{"beat":[]}', b'{"beat":{"beat":1}}', b'{"beat":12345678901234567890123}', b"[" * 2000,
    b'{"beat":1', b"[1,2]",
)  # fmt: skip


def odd_id(draw: random.Random, now_ms: int) -> bytes:
    """In place of an entry id; some look like one, of an entry that is gone or an hour ahead."""
    return draw.choice([*IDS, b"%d-0" % (now_ms + HOUR_MS)])


def odd_record(draw: random.Random, now_ms: int) -> bytes:
    """In place of `<count> <fence>`."""
    return draw.choice([*RECORDS, b"1 %d" % (now_ms + HOUR_MS), b"7 %d" % now_ms])


def odd_card(draw: random.Random, now_ms: int) -> bytes:
    """In place of a worker's JSON."""
    return draw.choice([*CARDS, b'{"beat":%d}' % (now_ms + HOUR_MS)])


def odd_score(draw: random.Random, now_ms: int) -> bytes:
    """In place of a time in ms."""
    return draw.choice([*SCORES, b"%d" % (now_ms + HOUR_MS), b"%d" % (now_ms + 10_000 * HOUR_MS)])


def odd_number(draw: random.Random, now_ms: int) -> bytes:
    """In place of a field of a job's hash."""
    return draw.choice([*WORDS, b"%d" % (now_ms + HOUR_MS), b"%d" % now_ms, b"1", b"1000000"])


def odd_waiting(draw: random.Random, now_ms: int) -> bytes:
    """In place of `<session> <padded id>`."""
    padded = b"%020d-%020d" % (now_ms + HOUR_MS, 0)
    return draw.choice([*WORDS, b"odd " + odd_id(draw, now_ms), padded, b" " + padded, b"odd " + padded, b"odd  1-0"])


def is_like_an_id(value: bytes) -> bool:
    """True for what may be an entry id: two numbers of 64 bits."""
    ms, dash, seq = value.partition(b"-")
    return bool(dash) and all(part.isdigit() and len(part) <= 20 and int(part) < 2**64 for part in (ms, seq))


# One for each type of Redis: what to send, behind the key.
TYPES: dict[str, tuple[bytes | str, ...]] = {
    "string": ("SET", b"odd"),
    "list": ("RPUSH", b"odd"),
    "set": ("SADD", b"odd"),
    "hash": ("HSET", b"odd", b"odd"),
    "zset": ("ZADD", b"1", b"odd"),
    "stream": ("XADD", b"*", b"odd", b"1"),
}


def other_type(draw: random.Random, but: str) -> tuple[str, Callable[[str], tuple[bytes | str, ...]]]:
    """A type that is not this one, and what makes a key of it: the words of the command for a key's name."""
    name = draw.choice([name for name in TYPES if name != but])
    command, *rest = TYPES[name]
    return name, lambda key: (command, key, *rest)
