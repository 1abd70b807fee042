"""What is fuzzed: a parser, the strategy of its inputs, and the errors that it declares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack
from hypothesis.strategies import SearchStrategy


class Broken(Exception):
    """The parser returned something that the contract does not allow."""


def require(holds: bool, what: str) -> None:
    """Raise Broken unless it holds."""
    if not holds:
        raise Broken(what)


@dataclass(frozen=True, slots=True)
class Target:
    """One parser.

    parse: returns whether the input was accepted, or raises one of `declared`, or Broken.
    seeds: known inputs, parsed first.
    inputs: the strategy of all further inputs.
    weight: its share of the inputs.
    lay: writes an input's files into an empty folder, the only one that parse may read.
    cpu_s, memory_mib, message_chars: limits of one input's cost, and of an error message's length.
    allowed: audit events that parsing may raise.
    """

    name: str
    parse: Callable[[bytes, Path], bool]
    seeds: Callable[[], Sequence[bytes]]
    inputs: Callable[[], SearchStrategy[bytes]]
    declared: tuple[type[Exception], ...]
    weight: float = 1.0
    lay: Callable[[bytes, Path], None] = lambda data, folder: None
    cpu_s: float = 1.0
    memory_mib: int = 64
    message_chars: int = 1000
    allowed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """What was wrong, where, and the shortest input (base64) that showed it."""

    target: str
    kind: str
    what: str
    where: str
    input: str


@dataclass(slots=True)
class Tally:
    """The result of one target's inputs."""

    target: str
    n_inputs: int = 0
    n_accepted: int = 0
    seconds: float = 0.0
    slowest_s: float = 0.0
    most_mib: float = 0.0
    findings: list[Finding] = field(default_factory=list)


def packed(value: Any) -> bytes:
    """An input of several parts as bytes, so that every input can be printed and given back."""
    data: bytes = msgpack.packb(value, unicode_errors="surrogatepass")
    return data


def unpacked(data: bytes) -> Any:
    return msgpack.unpackb(data, unicode_errors="surrogatepass")
