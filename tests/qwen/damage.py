"""Copies of a checkpoint, each broken in one way."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

Break = Callable[[Path], object]


def copy_of(tiny: Path, to: Path) -> Path:
    """Hard links: a test that changes a file replaces it."""
    for file in tiny.rglob("*"):
        if file.is_file():
            copied = to / file.relative_to(tiny)
            copied.parent.mkdir(parents=True, exist_ok=True)
            os.link(file, copied)
    return to


def rewrite(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def change(path: str, **values: Any) -> Break:
    """Set keys of a JSON file."""

    def apply(folder: Path) -> None:
        content = json.loads((folder / path).read_text("utf-8"))
        rewrite(folder / path, json.dumps(content | values).encode())

    return apply


def remove(*paths: str) -> Break:
    def apply(folder: Path) -> None:
        for path in paths:
            (folder / path).unlink()

    return apply


def replace(path: str, content: bytes) -> Break:
    return lambda folder: rewrite(folder / path, content)


def truncate(path: str, n_bytes: int) -> Break:
    return lambda folder: rewrite(folder / path, (folder / path).read_bytes()[:-n_bytes])


def in_shards(folder: Path) -> None:
    """The model's weights as two files and an index, as large checkpoints come."""
    from safetensors.torch import load_file, save_file

    whole = folder / "model.safetensors"
    tensors = load_file(whole)
    whole.unlink()
    names = sorted(tensors)
    half = len(names) // 2
    shards = {"model-00001-of-00002.safetensors": names[:half], "model-00002-of-00002.safetensors": names[half:]}
    for shard, held in shards.items():
        save_file({name: tensors[name] for name in held}, folder / shard, metadata={"format": "pt"})
    weight_map = {name: shard for shard, held in shards.items() for name in held}
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), "utf-8")


def without_tensor(path: str, name: str) -> Break:
    def apply(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        tensors = load_file(folder / path)
        del tensors[name]
        (folder / path).unlink()
        save_file(tensors, folder / path, metadata={"format": "pt"})

    return apply
