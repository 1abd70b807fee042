"""Parsers with one fault each, which the fuzzer must find."""

from __future__ import annotations

import ctypes
import os
import pickle
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from tests.fuzz.mutate import mutate
from tests.fuzz.target import Broken, Target

FAULT = b"fault"


class DeclaredError(ValueError): ...


def _target(name: str, fault: Callable[[bytes, Path], object]) -> Target:
    def parse(data: bytes, folder: Path) -> bool:
        if data == FAULT:
            fault(data, folder)
        raise DeclaredError("no")

    return Target(
        place=f"{__name__}:{name}",
        seeds=lambda: [b"a", b"b", b"c", FAULT, b"d"],
        mutate=mutate,
        parse=parse,
        declared=(DeclaredError,),
        weight=1,
        cpu_s=0.3,
        memory_mib=50,
    )


def _spin(seconds: float) -> None:
    ends_at = time.process_time() + seconds
    while time.process_time() < ends_at:
        pass


def _recurse(data: bytes) -> None:
    _recurse(data)


def _take(n_bytes: int) -> int:
    return len(b"x" * n_bytes)


def _refuse(words: str) -> None:
    raise DeclaredError(words)


def _break() -> None:
    raise Broken("two is three")


CRASHES = _target("CRASHES", lambda data, folder: ctypes.string_at(0))
EXITS = _target("EXITS", lambda data, folder: os._exit(3))
HANGS = _target("HANGS", lambda data, folder: _spin(1e9))
DAWDLES = _target("DAWDLES", lambda data, folder: _spin(0.5))
RECURSES = _target("RECURSES", lambda data, folder: _recurse(data))
SWELLS = _target("SWELLS", lambda data, folder: _take(80 << 20))
BURSTS = _target("BURSTS", lambda data, folder: _take(4 << 30))
RAISES = _target("RAISES", lambda data, folder: {FAULT[:1]: 0}[data])
WARNS = _target("WARNS", lambda data, folder: warnings.warn("old", DeprecationWarning, stacklevel=1))
PRINTS = _target("PRINTS", lambda data, folder: print("hello"))
WRITES = _target("WRITES", lambda data, folder: (folder / "new").write_bytes(data))
READS = _target("READS", lambda data, folder: Path("/etc/hostname").read_bytes())
UNPICKLES = _target("UNPICKLES", lambda data, folder: pickle.loads(b"cos\ngetcwd\n."))
RAMBLES = _target("RAMBLES", lambda data, folder: _refuse("a" * 5000))
MUMBLES = _target("MUMBLES", lambda data, folder: _refuse("\ud800"))
BREAKS = _target("BREAKS", lambda data, folder: _break())

KINDS = {
    "CRASHES": "crash",
    "EXITS": "crash",
    "HANGS": "hang",
    "DAWDLES": "slow",
    "RECURSES": "exception",
    "SWELLS": "memory",
    "BURSTS": "exception",
    "RAISES": "exception",
    "WARNS": "exception",
    "PRINTS": "deed",
    "WRITES": "deed",
    "READS": "deed",
    "UNPICKLES": "deed",
    "RAMBLES": "message",
    "MUMBLES": "message",
    "BREAKS": "property",
}
