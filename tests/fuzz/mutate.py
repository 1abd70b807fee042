"""Changes to bytes of which nothing is known: flips, cuts, splices, numbers blown up, parts repeated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import TypeVar

from tests.fuzz import odd

MAX_BYTES = 256 * 1024  # of an input; a part repeated until it is as long shows what is not linear
T = TypeVar("T")


def several(draw: Random, value: T, changes: Sequence[Callable[[Random, T], T]]) -> T:
    """One change, sometimes a few on top of each other."""
    for _ in range(draw.choice((1, 1, 1, 2, 3, 5))):
        value = draw.choice(changes)(draw, value)
    return value


def mutate(draw: Random, data: bytes, other: bytes) -> bytes:
    """Some of the changes below, or a splice with another input."""
    if draw.random() < 0.1:
        return (data[: _at(draw, data)] + other[_at(draw, other) :])[:MAX_BYTES]
    return several(draw, data, CHANGES)[:MAX_BYTES]


def replaced(items: Sequence[T], at: int, *by: T) -> list[T]:
    """The items with others, or none, in the place of one."""
    return [*items[:at], *by, *items[at + 1 :]]


def rearranged(draw: Random, items: Sequence[T]) -> list[T]:
    """The items with one left out, one repeated or one moved, or all in another order; none of none."""
    if not items:
        return []
    at, to = draw.randrange(len(items)), draw.randrange(len(items))
    kind = draw.randrange(4)
    if kind == 0:
        return replaced(items, at)
    if kind == 1:
        return [*items[:to], items[at], *items[to:]]
    return replaced(items, to, items[at]) if kind == 2 else draw.sample(items, len(items))


def _at(draw: Random, data: bytes) -> int:
    """An index, of the first bytes more often than of the rest: that is where headers are."""
    n_bytes = min(len(data), 96) if draw.random() < 0.5 else len(data)
    return draw.randrange(n_bytes + 1)


def _span(draw: Random, data: bytes) -> tuple[int, int]:
    start = _at(draw, data)
    return start, min(len(data), start + draw.choice((1, 2, 4, 8, 16, 64, 1024, 65536)))


def flip_a_bit(draw: Random, data: bytes) -> bytes:
    if not data:
        return b"\0"
    at = min(_at(draw, data), len(data) - 1)
    return data[:at] + bytes([data[at] ^ 1 << draw.randrange(8)]) + data[at + 1 :]


def truncate(draw: Random, data: bytes) -> bytes:
    return data[: _at(draw, data)]


def remove(draw: Random, data: bytes) -> bytes:
    start, end = _span(draw, data)
    return data[:start] + data[end:]


def repeat(draw: Random, data: bytes) -> bytes:
    start, end = _span(draw, data)
    times = draw.choice((2, 3, 17, 300, 4000))
    return data[:start] + (data[start:end] * times)[:MAX_BYTES] + data[end:]


def insert(draw: Random, data: bytes) -> bytes:
    at = _at(draw, data)
    return data[:at] + odd.bytes_of_some_kind(draw) + data[at:]


def write_an_integer(draw: Random, data: bytes) -> bytes:
    """An extreme number of 1 to 8 bytes over what is there: a length, a count, an offset."""
    at, n_bytes = _at(draw, data), draw.choice((1, 2, 4, 8))
    value = odd.integer(draw) % (1 << 8 * n_bytes)
    return data[:at] + value.to_bytes(n_bytes, draw.choice(("little", "big"))) + data[at + n_bytes :]


def move(draw: Random, data: bytes) -> bytes:
    start, end = _span(draw, data)
    rest = data[:start] + data[end:]
    at = _at(draw, rest)
    return rest[:at] + data[start:end] + rest[at:]


CHANGES = (flip_a_bit, truncate, remove, repeat, insert, write_an_integer, write_an_integer, move)
