"""Safetensors files by their headers: which tensors, of which shapes, and whether the file is whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 100_000_000  # the format's own bound


@dataclass(frozen=True, slots=True)
class TensorFile:
    """One file. name: relative to the model's directory. shapes: by tensor."""

    path: Path
    name: str
    n_bytes: int
    shapes: Mapping[str, tuple[int, ...]]

    @property
    def n_numbers(self) -> int:
        return sum(prod(shape) for shape in self.shapes.values())


def read_header(path: Path, name: str) -> TensorFile:
    """Read the header alone: 8 bytes of length, then JSON; the tensors must fill the rest exactly.

    Raises OSError, and ValueError where the file is damaged.
    """
    n_bytes = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
        if n_bytes < _LENGTH_BYTES or length > min(_MAX_HEADER_BYTES, n_bytes):
            raise ValueError("it does not begin as a safetensors file")
        header = stream.read(length)
    shapes, end = _parsed(header)
    if _LENGTH_BYTES + length + end != n_bytes:
        raise ValueError(f"it has {n_bytes} bytes where its header tells of {_LENGTH_BYTES + length + end}")
    return TensorFile(path, name, n_bytes, shapes)


def _parsed(header: bytes) -> tuple[dict[str, tuple[int, ...]], int]:
    """Shapes, and where the last tensor ends."""
    try:
        tensors: dict[str, Any] = json.loads(header)
        tensors.pop("__metadata__", None)
        shapes = {tensor: tuple(map(int, about["shape"])) for tensor, about in tensors.items()}
        return shapes, max((int(about["data_offsets"][1]) for about in tensors.values()), default=0)
    except (ValueError, LookupError, TypeError, AttributeError):
        raise ValueError("its header cannot be read") from None
