"""Safetensors files by their headers: which tensors, of which shapes, and whether the file is whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path


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
    """Read the header alone. The library checks that the tensors fill the rest of the file exactly.

    Raises OSError, ValueError where the file is damaged, and ImportError without the package safetensors.
    """
    from safetensors import SafetensorError, safe_open

    n_bytes = path.stat().st_size
    try:
        with safe_open(path, framework="np") as file:
            shapes = {tensor: tuple(file.get_slice(tensor).get_shape()) for tensor in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(ascii(str(error)[:200])[1:-1]) from None  # it may quote what the file holds
    return TensorFile(path, name, n_bytes, shapes)
