"""Safetensors files: prompts kept in the cache, and the headers of a model's weights."""

from __future__ import annotations

import json
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from safetensors.numpy import save

from tests.fuzz.strategies import MAX_BYTES, Pairs, as_json, edited, integers, mostly, tree_changes, tree_of
from tests.fuzz.target import Target, require
from worker.engine.checkpoint.headers import read_header
from worker.voices.prompt_cache import FORMAT, PromptCache, _checksum

VOICE, KEY = "alice", "0123456789abcdef" * 4
MODEL_FILE = "model.safetensors"
N_HEADER = 8


@cache
def files() -> list[bytes]:
    tensors: dict[str, np.ndarray] = {
        "codes": np.arange(32, dtype=np.int64).reshape(2, 16),
        "speaker": np.linspace(-1, 1, 8, dtype=np.float32),
        "none": np.zeros((0, 4), np.float16),
        "one": np.array(1.0),
    }
    metadata = {"format": FORMAT, "voice": VOICE, "key": KEY, "sha256": _checksum(tensors)}
    return [save(tensors, metadata), save(tensors), save({}, metadata), save({"a": np.zeros(1, np.uint8)})]


numbers = st.sampled_from((0, 1, 4, 64, 2**31, 2**63, 2**64, -1, 1.5, 1e999, "8", True, None, [1], 10**400))
shapes = st.lists(numbers, max_size=3) | st.just([2**40] * 3000) | numbers
offsets = st.sampled_from(([0, 8], [0, 0], [8, 0], [0], "00", {})) | st.lists(numbers, min_size=2, max_size=2)
dtypes = st.sampled_from(("F32", "BF16", "F8_E4M3", "F8_E8M0", "BOOL", "U64", "C64", "", "f32", "V", 1))
names = st.sampled_from(("a", "codes", "", "__metadata__"))
metadata: SearchStrategy[Any] = st.sampled_from(
    (None, [], {}, "x", 1, {"format": None}, {"format": FORMAT}, {"format": [FORMAT]})
)


def _pairs(tree: Any, without: str = "") -> list[Any]:
    return [pair for pair in tree if pair[0] != without] if isinstance(tree, Pairs) else []


abouts = st.fixed_dictionaries({"dtype": dtypes, "shape": shapes, "data_offsets": offsets})
with_a_tensor = st.tuples(names, abouts.map(tree_of)).map(lambda pair: lambda tree: Pairs([*_pairs(tree), pair]))
with_metadata = metadata.map(tree_of).map(
    lambda value: lambda tree: Pairs([("__metadata__", value), *_pairs(tree, "__metadata__")])
)


def _written(known: tuple[Any, bytes], tree: Any, padding: int, size: int | None, tail: int) -> bytes:
    header = as_json(tree).encode()[:MAX_BYTES] + b" " * padding
    body = known[1]
    size = len(header) if size is None else size % 2**64
    return size.to_bytes(N_HEADER, "little") + header + (body + bytes(max(tail, 0)))[: len(body) + tail]


def a_file() -> SearchStrategy[bytes]:
    """A file whose header's tree was changed, whose size lies, or whose bytes were edited."""
    headers = [data[N_HEADER : N_HEADER + int.from_bytes(data[:N_HEADER], "little")] for data in files()]
    known = [
        (tree_of(json.loads(header)), data[N_HEADER + len(header) :])
        for header, data in zip(headers, files(), strict=True)
    ]
    written = st.builds(
        lambda one, changes, *rest: _written(one, changes(one[0]), *rest),
        st.sampled_from(known),
        tree_changes | with_a_tensor | with_metadata,
        st.sampled_from((0, 0, 0, 1, 7, 100_000)),
        mostly(st.none(), integers),
        st.sampled_from((0, 0, 0, -1, 1)),
    )
    return written | edited(*files())


def _lay_prompt(data: bytes, folder: Path) -> None:
    PromptCache(folder).file_of(VOICE, KEY).write_bytes(data)


def parse_prompt(data: bytes, folder: Path) -> bool:
    cache = PromptCache(folder)
    tensors = cache.load(VOICE, KEY)
    if tensors is None:
        return False
    require(cache.file_of(VOICE, KEY).read_bytes() == data, "reading changed the file")
    require(sum(tensor.nbytes for tensor in tensors.values()) <= len(data), "more tensors than the file holds")
    require(_checksum(tensors).encode() in data, "tensors that nobody vouches for")
    return True


PROMPT = Target("prompt", parse_prompt, files, a_file, (), weight=6, lay=_lay_prompt)


def _lay_weights(data: bytes, folder: Path) -> None:
    (folder / MODEL_FILE).write_bytes(data)


def parse_header(data: bytes, folder: Path) -> bool:
    path = folder / MODEL_FILE
    found = read_header(path, path.name)
    require(found.n_bytes == len(data), "another size than the file's")
    for shape in found.shapes.values():
        require(all(type(size) is int and size >= 0 for size in shape), "a shape that is none")
        require(prod(shape) <= 2 * len(data), "more numbers than the file can hold")
    require(0 <= found.n_numbers <= 2 * len(data), "more numbers than the file can hold")
    return True


HEADER = Target("header", parse_header, files, a_file, (ValueError,), weight=5, lay=_lay_weights)
