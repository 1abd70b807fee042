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
_MAX_DIMENSIONS = 64  # torch's own bound
_MOST_A_BYTE = 2  # numbers: the smallest have 4 bits


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
    """Shapes, and where the last tensor ends; the tensors follow each other without a gap."""
    end = 0
    try:
        tensors: dict[str, Any] = json.loads(header)
        tensors.pop("__metadata__", None)
        for about in sorted(tensors.values(), key=lambda about: _counts(about["data_offsets"])):
            end = _end_of(about, end)
        return {tensor: _counts(about["shape"]) for tensor, about in tensors.items()}, end
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise ValueError("its header cannot be read") from None


def _end_of(about: Mapping[str, Any], begin: int) -> int:
    """Where a tensor ends. Raises ValueError where it begins elsewhere, or has more numbers than room for them."""
    start, end = _counts(about["data_offsets"])
    if start != begin or prod(_counts(about["shape"])) > (end - start) * _MOST_A_BYTE:
        raise ValueError(start)
    return end


def _counts(numbers: Any) -> tuple[int, ...]:
    """A short list of whole numbers. Raises ValueError for anything else."""
    if not isinstance(numbers, list) or len(numbers) > _MAX_DIMENSIONS:
        raise ValueError(type(numbers))
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError(numbers)
    return tuple(numbers)
