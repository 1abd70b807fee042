"""What is fuzzed: a parser with its seeds, its mutator and the errors it declares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

import msgpack

Mutate: TypeAlias = Callable[[Random, bytes, bytes], bytes]


class Broken(Exception):
    """A property of the parser does not hold: what it returned is not what the contract allows."""


def require(holds: bool, what: str) -> None:
    """Raise Broken unless it holds."""
    if not holds:
        raise Broken(what)


@dataclass(frozen=True, slots=True)
class Target:
    """One parser.

    place: "module:NAME", by which a child process finds it. mutate: draws an input from two that are known. lay: puts
    an input's files into an empty folder, which is all that parse may read. parse: returns whether the input was
    accepted, or raises one of `declared`, or Broken. weight: its share of the inputs. modules: whose lines are watched.
    cpu_s, memory_mib, message_chars: what one input may cost, and how long an error's message may be. allowed: audit
    events that parsing it raises rightly.
    """

    place: str
    seeds: Callable[[], Sequence[bytes]]
    mutate: Mutate
    parse: Callable[[bytes, Path], bool]
    declared: tuple[type[Exception], ...]
    weight: float
    modules: tuple[str, ...] = ()
    lay: Callable[[bytes, Path], None] = lambda data, folder: None
    cpu_s: float = 1.0
    memory_mib: int = 64
    message_chars: int = 1000
    allowed: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.place.partition(":")[2].lower()


def found(place: str) -> Target:
    """The target at "module:NAME"."""
    module, _, name = place.partition(":")
    target: Target = getattr(import_module(module), name)
    return target


def packed(value: Any) -> bytes:
    """An input of several parts as bytes, so that every input can be printed and given back."""
    data: bytes = msgpack.packb(value, unicode_errors="surrogatepass")
    return data


def unpacked(data: bytes) -> Any:
    return msgpack.unpackb(data, unicode_errors="surrogatepass")


def write(file: Path, data: bytes) -> None:
    file.write_bytes(data)
