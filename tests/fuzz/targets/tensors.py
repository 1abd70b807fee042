"""Safetensors files: prompts kept in the cache, and the headers of a model's weights."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from safetensors.numpy import save

from tests.fuzz import mutate as plain
from tests.fuzz import odd, trees
from tests.fuzz.target import Target, require, write
from worker.engine.checkpoint.headers import read_header
from worker.voices.prompt_cache import FORMAT, PromptCache, _checksum

VOICE, KEY = "alice", "0123456789abcdef" * 4
MODEL_FILE = "model.safetensors"
N_HEADER = 8


def files() -> list[bytes]:
    tensors: dict[str, np.ndarray] = {
        "codes": np.arange(32, dtype=np.int64).reshape(2, 16),
        "speaker": np.linspace(-1, 1, 8, dtype=np.float32),
        "none": np.zeros((0, 4), np.float16),
        "one": np.array(1.0),
    }
    metadata = {"format": FORMAT, "voice": VOICE, "key": KEY, "sha256": _checksum(tensors)}
    return [save(tensors, metadata), save(tensors), save({}, metadata), save({"a": np.zeros(1, np.uint8)})]


def a_file(draw: Random, data: bytes, other: bytes) -> bytes:
    if draw.random() < 0.3:
        return plain.mutate(draw, data, other)
    n_bytes = int.from_bytes(data[:N_HEADER], "little")
    tree = trees.read(data[N_HEADER : N_HEADER + n_bytes], json.loads)
    body = data[N_HEADER + n_bytes :] or other[-64:]
    if tree is None:
        tree = trees.tree_of({"a": {"dtype": "U8", "shape": [len(body)], "data_offsets": [0, len(body)]}})
    changed = plain.several(draw, tree, (trees.changed, trees.changed, _a_tensor, _no_metadata))
    header = trees.as_json(changed).encode()[: plain.MAX_BYTES]
    header += b" " * draw.choice((0, 0, 7, 100_000 if draw.random() < 0.1 else 1))
    told = len(header) if draw.random() < 0.9 else odd.integer(draw) % 2**64
    return told.to_bytes(N_HEADER, "little") + header + draw.choice((body, body, body[:-1], body + b"\0"))


def _a_tensor(draw: Random, tree: Any) -> Any:
    """A tensor that says anything of itself."""
    numbers = (0, 1, 4, 64, 2**31, 2**63, 2**64, -1, 1.5, 1e999, "8", True, None, [1], 10**400)
    shape = draw.choice(
        ([draw.choice(numbers) for _ in range(draw.choice((0, 1, 2, 9)))], [2**40] * 3000, draw.choice(numbers))
    )
    about: dict[str, Any] = {
        "dtype": draw.choice(("F32", "BF16", "F8_E4M3", "F8_E8M0", "BOOL", "U64", "C64", "", "f32", "V", 1)),
        "shape": shape,
        "data_offsets": draw.choice(
            ([0, 8], [0, 0], [8, 0], [draw.choice(numbers), draw.choice(numbers)], [0], "00", {})
        ),
    }
    pairs = tree if isinstance(tree, trees.Pairs) else trees.Pairs()
    return trees.Pairs([*pairs, (draw.choice(("a", "codes", "", "__metadata__")), trees.tree_of(about))])


def _no_metadata(draw: Random, tree: Any) -> Any:
    metadata: Any = draw.choice((None, [], {}, "x", 1, {"format": None}, {"format": FORMAT}, {"format": [FORMAT]}))
    pairs = tree if isinstance(tree, trees.Pairs) else trees.Pairs()
    kept = [(key, value) for key, value in pairs if key != "__metadata__"]
    return trees.Pairs([("__metadata__", trees.tree_of(metadata)), *kept])


def parse_prompt(data: bytes, folder: Path) -> bool:
    cache = PromptCache(folder)
    tensors = cache.load(VOICE, KEY)
    if tensors is None:
        return False
    require(cache.file_of(VOICE, KEY).read_bytes() == data, "reading changed the file")
    require(sum(tensor.nbytes for tensor in tensors.values()) <= len(data), "more tensors than the file holds")
    require(_checksum(tensors).encode() in data, "tensors that nobody vouches for")
    return True


PROMPT = Target(
    place="tests.fuzz.targets.tensors:PROMPT",
    seeds=files,
    mutate=a_file,
    lay=lambda data, folder: write(PromptCache(folder).file_of(VOICE, KEY), data),
    parse=parse_prompt,
    declared=(),
    weight=6,
    modules=("worker.voices.prompt_cache",),
)


def parse_header(data: bytes, folder: Path) -> bool:
    path = folder / MODEL_FILE
    found = read_header(path, path.name)
    require(found.n_bytes == len(data), "another size than the file's")
    for shape in found.shapes.values():
        require(all(type(size) is int and size >= 0 for size in shape), "a shape that is none")
        require(prod(shape) <= 2 * len(data), "more numbers than the file can hold")
    require(0 <= found.n_numbers <= 2 * len(data), "more numbers than the file can hold")
    return True


HEADER = Target(
    place="tests.fuzz.targets.tensors:HEADER",
    seeds=files,
    mutate=a_file,
    lay=lambda data, folder: write(folder / MODEL_FILE, data),
    parse=parse_header,
    declared=(ValueError,),
    weight=5,
    modules=("worker.engine.checkpoint.headers",),
)
