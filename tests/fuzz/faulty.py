"""Parsers with one fault each, which the fuzzer must find, and inputs that its strategies must come upon."""

from __future__ import annotations

import ctypes
import os
import pickle
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from hypothesis import strategies as st

from tests.fuzz.target import Broken, Target, unpacked

FAULT = b"fault"
Deed = Callable[[Path], object]


class DeclaredError(ValueError): ...


def _spin(seconds: float) -> None:
    ends_at = time.process_time() + seconds
    while time.process_time() < ends_at:
        pass


def _recurse() -> None:
    _recurse()


def _raise(error: Exception) -> None:
    raise error


FAULTS: dict[str, tuple[str, Deed]] = {
    "crashes": ("crash", lambda folder: ctypes.string_at(0)),
    "exits": ("crash", lambda folder: os._exit(3)),
    "hangs": ("hang", lambda folder: _spin(1e9)),
    "dawdles": ("slow", lambda folder: _spin(0.5)),
    "recurses": ("exception", lambda folder: _recurse()),
    "swells": ("memory", lambda folder: len(b"x" * (80 << 20))),
    "bursts": ("exception", lambda folder: len(b"x" * (4 << 30))),
    "raises": ("exception", lambda folder: {"a": 0}[str(folder)]),
    "warns": ("exception", lambda folder: warnings.warn("old", DeprecationWarning, stacklevel=1)),
    "prints": ("deed", lambda folder: print("hello")),
    "writes": ("deed", lambda folder: (folder / "new").write_bytes(b"")),
    "reads": ("deed", lambda folder: Path("/etc/hostname").read_bytes()),
    "unpickles": ("deed", lambda folder: pickle.loads(b"cos\ngetcwd\n.")),
    "rambles": ("message", lambda folder: _raise(DeclaredError("a" * 5000))),
    "mumbles": ("message", lambda folder: _raise(DeclaredError("\ud800"))),
    "breaks": ("property", lambda folder: _raise(Broken("two is three"))),
}


def _target(name: str, deed: Deed) -> Target:
    def parse(data: bytes, folder: Path) -> bool:
        if FAULT in data:
            deed(folder)
        raise DeclaredError("no")

    inputs = st.binary(max_size=8).map(lambda data: data + FAULT)
    return Target(name, parse, lambda: [b"a", b"b"], lambda: inputs, (DeclaredError,), cpu_s=0.3, memory_mib=50)


TARGETS = tuple(_target(name, deed) for name, (_, deed) in FAULTS.items())

# By target: whether an input is one that a parser with a likely fault would stumble over.
RARE: dict[str, Callable[[bytes], bool]] = {
    "job": lambda data: b"ttl_ms" in data and data.count(b"session_id") > 1,
    "message": lambda data: b"\x91" * 90 in data or b"\x81\xa1a" * 90 in data,
    "entry": lambda data: b"-1" in unpacked(data)[1::2] or b"-128" in unpacked(data)[1::2],
    "trail": lambda data: len(unpacked(data)) > 80,
    "text": lambda data: unpacked(data)[1].count("|") > 1500,
    "card": lambda data: data.count(b"[lexicon]") > 1,
    "registry": lambda data: any(b"\xff" in name for name, _ in unpacked(data)),
    "recording": lambda data: data[:4] == b"RIFF" and b"\x00\x04" in data[20:28],  # 1,024 channels
    "samples": lambda data: unpacked(data)[0] == "pcm_f32le" and len(unpacked(data)[1]) % 4 == 3,
    "prompt": lambda data: b'"__metadata__":null' in data or b'"__metadata__":[]' in data,
    "header": lambda data: b'"shape":[-1' in data or b'"shape":[1.5' in data,
    "url": lambda data: data.startswith(b"redis") and b":65536" in data,
    "settings": lambda data: unpacked(data)[1].get("lease_ms") == "99",
    "slots": lambda data: b"\xcd\x40\x00" in data,  # slot 16,384, one too many
}
