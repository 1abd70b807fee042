"""Strategies of values that parsers stumble over, and of changes to known bytes, texts and trees.

A change is a function. Hypothesis draws it without knowing what it will be applied to, so no strategy depends on a
value that was drawn before, which would make drawing several times slower.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeVar

import msgpack
from hypothesis import Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

T = TypeVar("T")
MAX_BYTES = 256 * 1024  # of an input; a part repeated until it is as long shows cost that is not linear
INTEGERS = (
    0, 1, -1, 2, 7, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53 - 1,
    2**53, 2**63 - 1, 2**63, 2**64 - 1, -128, -129, -(2**31), -(2**63),
)  # fmt: skip
FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 2.0, 2.0000001, 1e-320, 1e308, float("inf"), float("-inf"), float("nan"))
NUMERALS = (
    "", "0", "00", "-0", "+1", "-1", "1", "01", "1.", ".5", "1.0", "1e0", "1e999", "-1e-999", "0x10", "1_000",
    " 1", "1 ", "1\n", "nan", "NaN", "inf", "-Infinity", "٣", "１", "²", "Ⅷ", "9" * 19, "9" * 20, "1" * 33, "1" * 5000,
    "0." + "0" * 30 + "1", "9223372036854775807", "9223372036854775808", "18446744073709551616", "300000", "300001",
    "2.0", "2.00000000000000000001", "8000", "24000", "48000", "11025",
)  # fmt: skip
CHARACTERS = (
    "\0", "\x01", "\x1a", "\x1b", "\x7f", "\x85", "\xa0", "\xad", "\u0300", "\u0316", "\u0334", "\u0345", "\u034f",
    "\u0600", "\u061c", "\u1160", "\u115f", "\u1e9b", "\u200b", "\u200d", "\u200e", "\u202e", "\u2028", "\u2029",
    "\u2060", "\u2066", "\u3000", "\u3099", "\u309a", "\ufe0f", "\ufeff", "\ufffd", "\uffff", "\ufdfa", "\u0958",
    "\u0f77", "\U0001d160", "\U0001f1ef\U0001f1f5", "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\U0001f44d\U0001f3fd", "\U000e0041", "\U000f0000", "\U0010ffff", "ß", "İ", "ı", "ﬁ", "ŉ", "ǰ", "Å", "가", "각",
    "ｶﾞ", "Ａ", "〜", "～", "…", "‼", "½", "①", "㍻", "﷽",
)  # fmt: skip
NOT_UTF8 = (
    b"\xff", b"\xfe\xff", b"\x80", b"\xc0\x80", b"\xc1\xbf", b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xf4\x90\x80\x80",
    b"\xf8\x88\x80\x80\x80", b"\xe3\x81", b"\xf0\x9f\x91", b"caf\xe9",
)  # fmt: skip
STRINGS = (
    "", " ", "\n", "0", "null", "true", "s1", "a" * 128, "a" * 129, "../../etc/passwd", "/dev/zero", "%s%n", "{0}",
    "{}", "{s1}", "$ref", "__class__", "[bold]", "\r\n", "-", "'", '"', "\\", "あ" * 64,
)  # fmt: skip

Change: TypeAlias = Callable[[T], T]

seldom = st.sampled_from((False,) * 9 + (True,))
indices = st.integers(0, 2**16)  # of anything, modulo its length
integers = st.sampled_from(INTEGERS) | st.integers(-(2**65), 2**65)
numerals = st.sampled_from(NUMERALS)
_letters = st.sampled_from((*CHARACTERS, *"abcXYZ019 ._:-", *"abcXYZ019 ._:-"))
strings = st.sampled_from(STRINGS) | st.lists(_letters, max_size=6).map("".join)
_long = [
    unit * n for unit in (b"a", b" ", b"\0", b"\xff", b"9", "あ".encode()) for n in (1, 127, 128, 129, 5000, 100_000)
]
blobs = st.one_of(
    st.sampled_from([numeral.encode() for numeral in NUMERALS]),
    st.sampled_from(NOT_UTF8),
    strings.map(str.encode),
    st.binary(max_size=24),
    st.sampled_from(_long),
)


def examples(strategy: SearchStrategy[T], n: int, number: int) -> list[T]:
    """The first n values of the strategy for one seed."""
    found: list[T] = []

    def collect(value: T) -> None:
        found.append(value)

    sampling = settings(max_examples=n, phases=[Phase.generate], database=None, deadline=None)
    seed(number)(sampling(given(strategy)(collect)))()
    return found


def several(values: SearchStrategy[T], *changes: SearchStrategy[Change[T]]) -> SearchStrategy[T]:
    """The values with one to three changes on top of each other."""
    return st.builds(_applied, values, st.lists(st.one_of(*changes), min_size=1, max_size=3))


def _applied(value: T, changes: Sequence[Change[T]]) -> T:
    for change in changes:
        value = change(value)
    return value


def mostly(usual: SearchStrategy[T], odd: SearchStrategy[T]) -> SearchStrategy[T]:
    """One in ten is odd. (Hypothesis drops the copies of a strategy that stands several times in `one_of`.)"""
    return seldom.flatmap(lambda is_odd: odd if is_odd else usual)


def replaced(items: Sequence[T], at: int, *by: T) -> list[T]:
    """The items with others, or none, in the place of one; `at` is taken modulo their number."""
    at %= len(items)
    return [*items[:at], *by, *items[at + 1 :]]


# Bytes and texts


def _edit(at: int, n: int, put: Change[bytes]) -> Change[bytes]:
    def edit(data: bytes) -> bytes:
        start = at % (len(data) + 1)
        return (data[:start] + put(data[start : start + n]) + data[start + n :])[:MAX_BYTES]

    return edit


def _number(value: int, order: Literal["little", "big"]) -> Change[bytes]:
    """An extreme number over the part: a length, a count, an offset."""
    return lambda part: (value % (1 << 8 * len(part))).to_bytes(len(part), order)


def _flip(bit: int) -> Change[bytes]:
    return lambda part: bytes([part[0] ^ 1 << bit]) + part[1:] if part else b"\0"


def _repeat(times: int) -> Change[bytes]:
    return lambda part: (part * times)[:MAX_BYTES]


_puts: SearchStrategy[Change[bytes]] = st.one_of(
    blobs.map(lambda blob: lambda part: blob),
    st.builds(_number, st.sampled_from(INTEGERS), st.sampled_from(("little", "big"))),
    st.builds(_flip, st.integers(0, 7)),
    st.builds(_repeat, st.sampled_from((0, 0, 2, 3, 17, 300, 4000))),
)
edits = st.builds(  # mostly among the first bytes, where headers are
    _edit, st.integers(0, 96) | indices, st.sampled_from((0, 1, 1, 2, 2, 4, 4, 8, 8, 16, 64, 1024, 65536)), _puts
)


def edited(*known: bytes) -> SearchStrategy[bytes]:
    """Known inputs with edits, or the start of one followed by the end of another."""
    seeds = st.sampled_from(known)
    spliced = st.builds(lambda one, other, at: one[:at] + other[at:], seeds, seeds, st.integers(0, 96))
    return several(mostly(seeds, spliced), edits)


def splices(put: SearchStrategy[str]) -> SearchStrategy[Change[str]]:
    """Put something into a text, in the place of a part of it."""

    def splice(at: int, n: int, new: str) -> Change[str]:
        def change(text: str) -> str:
            start = at % (len(text) + 1)
            return text[:start] + new + text[start + n :]

        return change

    return st.builds(splice, indices, st.sampled_from((0, 0, 0, 1, 3, 10, 30, 300)), put)


# Trees


class Pairs(list[tuple[Any, Any]]):
    """A map as its pairs, so that a key may stand twice."""


@dataclass(frozen=True, slots=True)
class Deep:
    """A null within many lists, or many maps."""

    depth: int
    is_map: bool


oddities = st.one_of(
    integers,
    st.sampled_from(FLOATS),
    strings,
    numerals,
    st.binary(max_size=8),
    st.sampled_from((None, False, True, 0, [], Pairs())),
    st.builds(Deep, st.sampled_from((3, 100, 510, 600, 3000)), st.booleans()),
)


def tree_of(value: Any) -> Any:
    """The value with every map as Pairs."""
    if isinstance(value, dict):
        return Pairs((tree_of(key), tree_of(item)) for key, item in value.items())
    return [tree_of(item) for item in value] if isinstance(value, list) else value


def _put(value: Any) -> Change[Any]:
    return lambda old: value


def _near(which: int) -> Change[Any]:
    """A value near to the old one."""

    def near(old: Any) -> Any:
        choices: tuple[Any, ...] = ([old], [old, old])
        if isinstance(old, int):
            choices = (old - 1, old + 1, old + 2**32, -old, 2**53)
        elif isinstance(old, (str, bytes)):
            choices = (old[: len(old) // 2], old * 2, old * 200, old[:0])
        return choices[which % len(choices)]

    return near


def _within(path: Sequence[int], how: str, change: Change[Any]) -> Change[Any]:
    """Change what lies at the path, as far as the tree goes down."""

    def go(tree: Any, depth: int = 0) -> Any:
        if not isinstance(tree, list) or not tree or depth == len(path):
            return change(tree)
        item = tree[path[depth] % len(tree)]
        if depth == len(path) - 1 and how in ("drop", "twice", "many"):
            more = [(f"k{n}", n) for n in range(300)] if isinstance(tree, Pairs) else [item] * 300
            by = {"drop": [], "twice": [item, item], "many": [item, *more]}[how]
        elif isinstance(tree, Pairs):
            key, value = item
            by = [(change(key), value)] if how == "key" and depth == len(path) - 1 else [(key, go(value, depth + 1))]
        else:
            by = [go(item, depth + 1)]
        return type(tree)(replaced(tree, path[depth], *by))

    return go


tree_changes: SearchStrategy[Change[Any]] = st.builds(
    _within,
    mostly(st.lists(st.integers(0, 30), min_size=2, max_size=6), st.lists(st.integers(0, 30), max_size=1)),
    st.sampled_from(("value",) * 12 + ("key", "drop", "drop", "twice", "many")),
    oddities.map(_put) | st.integers(0, 19).map(_near),
)


def as_msgpack(tree: Any) -> bytes:
    packer = msgpack.Packer(unicode_errors="surrogatepass")
    if isinstance(tree, Deep):
        return (b"\x81\xa1a" if tree.is_map else b"\x91") * tree.depth + b"\xc0"
    if isinstance(tree, Pairs):
        parts = (as_msgpack(part) for pair in tree for part in pair)
        return bytes(packer.pack_map_header(len(tree))) + b"".join(parts)
    if isinstance(tree, list):
        return bytes(packer.pack_array_header(len(tree))) + b"".join(map(as_msgpack, tree))
    is_beyond = isinstance(tree, int) and not -(2**63) <= tree < 2**64
    return bytes(packer.pack(float(tree) if is_beyond else tree))


def as_json(tree: Any) -> str:
    """The tree in JSON, with NaN and Infinity as Python writes and reads them."""
    if isinstance(tree, Deep):
        opened, closed = ('{"a":', "}") if tree.is_map else ("[", "]")
        return opened * tree.depth + "null" + closed * tree.depth
    if isinstance(tree, Pairs):
        return "{" + ",".join(f"{_key(key)}:{as_json(value)}" for key, value in tree) + "}"
    if isinstance(tree, list):
        return "[" + ",".join(map(as_json, tree)) + "]"
    return json.dumps(tree.decode("latin-1") if isinstance(tree, bytes) else tree)


def _key(key: Any) -> str:
    return json.dumps(key) if isinstance(key, str) else as_json(key)
