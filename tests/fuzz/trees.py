"""Changes to values made of maps, lists and scalars, written again as msgpack or JSON.

Also as no honest writer would: with a key that stands twice, or a length that lies.

A map is a `Pairs`, so that keys may repeat.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

import msgpack

from tests.fuzz import odd
from tests.fuzz.mutate import rearranged, replaced

N_DEEP = 3000


class Pairs(list[tuple[Any, Any]]):
    """A map as its pairs."""


def read(data: bytes, load: Callable[[bytes], Any]) -> Any:
    """The tree of some bytes that were perhaps changed before; None where they are no tree any more."""
    try:
        return tree_of(load(data))
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException):
        return None


def tree_of(value: Any) -> Any:
    """The value with every map as Pairs."""
    if isinstance(value, dict):
        return Pairs((tree_of(key), tree_of(item)) for key, item in value.items())
    return [tree_of(item) for item in value] if isinstance(value, list) else value


def changed(draw: Random, tree: Any, depth: int = 0) -> Any:
    """The tree with one change in it, somewhere."""
    if isinstance(tree, Pairs) and tree:
        return _changed_map(draw, tree, depth)
    if isinstance(tree, list) and tree and draw.random() < 0.8:
        at = draw.randrange(len(tree))
        return replaced(tree, at, *_instead(draw, tree[at], depth))
    return _other(draw, tree)


def _instead(draw: Random, item: Any, depth: int) -> list[Any]:
    return draw.choice(([], [item, item], [changed(draw, item, depth + 1)], [item] * 300, [item, odd.integer(draw)]))


def _changed_map(draw: Random, pairs: Pairs, depth: int) -> Any:
    at = draw.randrange(len(pairs))
    key, item = pairs[at]
    kind = draw.randrange(10)
    if kind == 0:
        return Pairs(rearranged(draw, pairs))
    if kind == 1:
        return Pairs([*pairs, (key, _other(draw, item))])
    if kind == 2:
        return Pairs(replaced(pairs, at, (_other(draw, key), item)))
    if kind == 3:
        return Pairs([*pairs, *((f"k{n}", n) for n in range(draw.choice((1, 20, 255, 257, 5000))))])
    if kind == 4 and depth == 0:
        return _other(draw, pairs)
    return Pairs(replaced(pairs, at, (key, changed(draw, item, depth + 1))))


def _other(draw: Random, value: Any) -> Any:
    """A value of the same kind or of another one, mostly extreme."""
    kind = draw.randrange(11)
    if kind < 2 and isinstance(value, int):
        return value + draw.choice((-1, 1, -2, 256, -value, 2**32, 2**53 - value))
    if kind < 2 and isinstance(value, (str, bytes)):
        return draw.choice((value[: len(value) // 2], value * 2, value * 200, value[:0]))
    choices: tuple[Any, ...] = (
        odd.integer(draw), draw.choice(odd.FLOATS), odd.string(draw), draw.choice(odd.NUMERALS), draw.randbytes(8),
        None, draw.random() < 0.5, [], Pairs(), [value], deep(draw, value),
    )  # fmt: skip
    return choices[kind]


def deep(draw: Random, value: Any) -> Any:
    """The value within many lists or maps."""
    for _ in range(draw.choice((3, 100, 510, 600, N_DEEP))):
        value = [value] if draw.random() < 0.5 else Pairs([("a", value)])
    return value


def as_msgpack(draw: Random, tree: Any) -> bytes:
    """The tree in msgpack; now and then a length says more or less than follows it."""
    packer = msgpack.Packer(autoreset=False)
    todo = [tree]
    while todo:
        item = todo.pop()
        lie = draw.choice((-1, 1, 15, 4097, 2**31)) if draw.random() < 0.002 else 0
        if isinstance(item, Pairs):
            packer.pack_map_header(max(0, len(item) + lie))
            todo += [part for pair in reversed(item) for part in reversed(pair)]
        elif isinstance(item, list):
            packer.pack_array_header(max(0, len(item) + lie))
            todo += reversed(item)
        elif lie:
            packer.pack_ext_type(draw.choice((-1, 0, 1, 127)), draw.randbytes(draw.choice((0, 1, 4, 8, 12, 300))))
        else:
            _pack_scalar(packer, item)
    data: bytes = packer.bytes()
    return data


def _pack_scalar(packer: Any, item: Any) -> None:
    if isinstance(item, int) and not -(2**63) <= item < 2**64:
        item = float(item)
    packer.pack(item)


def as_json(tree: Any) -> str:
    """The tree in JSON, with NaN and Infinity as Python writes and reads them."""
    parts: list[str] = []
    todo: list[Any] = [tree]
    while todo:
        item = todo.pop()
        if isinstance(item, _Written):
            parts.append(item)
        elif isinstance(item, Pairs):
            inside = [part for key, value in item for part in (_Written(","), _key(key), _Written(":"), value)][1:]
            todo += reversed([_Written("{"), *inside, _Written("}")])
        elif isinstance(item, list):
            inside = [part for value in item for part in (_Written(","), value)][1:]
            todo += reversed([_Written("["), *inside, _Written("]")])
        else:
            parts.append(json.dumps(item.decode("latin-1") if isinstance(item, bytes) else item))
    return "".join(parts)


class _Written(str):
    """A part of the JSON that is written as it is."""

    __slots__ = ()


def _key(key: Any) -> str:
    return key if isinstance(key, str) else "[]" if isinstance(key, list) else str(key)
