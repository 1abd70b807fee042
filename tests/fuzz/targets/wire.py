"""Messages in msgpack, the entries around them on a session's stream, and the progress read from it."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from schemas import WireError, pack, read_entry, unpack
from schemas.golden import CODES, MESSAGES, files
from schemas.messages import Audio, Message
from schemas.wire import pack_codes, stream_fields, unpack_codes
from tests.fuzz.strategies import (
    Change,
    Pairs,
    as_msgpack,
    blobs,
    edited,
    edits,
    indices,
    integers,
    mostly,
    several,
    tree_changes,
    tree_of,
)  # fmt: skip
from tests.fuzz.target import Target, packed, require, unpacked
from worker.stream.progress import PAGE, read_progress

ENTRY_ID = "1760000000000-0"
Fields = list[bytes]


@cache
def _messages() -> list[bytes]:
    return [data for name, data in files().items() if name.endswith(".msgpack")]


def _to_the_limit(name: str, item: Any, n: int) -> Change[Any]:
    """Texts and samples about as long as a message may be."""

    def lengthen(tree: Any) -> Any:
        pairs = tree if isinstance(tree, Pairs) else []
        return Pairs([*((key, item * n if key == name else value) for key, value in pairs), ("mood", item)])

    return lengthen


lengthenings = st.builds(
    lambda unit, n: _to_the_limit(unit[0], unit[1], n),
    st.sampled_from([("text_spoken", "a"), ("message", "あ"), ("data", b"\0"), ("mood", "x")]),
    st.sampled_from((4096, 4097, 65_536, 262_144, 262_145, 278_300, 278_400, 278_528)),
)


@cache
def a_message() -> SearchStrategy[bytes]:
    """A golden message's tree changed, its bytes edited, or both."""
    trees = st.sampled_from([tree_of(unpacked(data)) for data in _messages()])
    written = several(trees, mostly(tree_changes, lengthenings)).map(as_msgpack)
    return mostly(written, several(written, edits)) | edited(*_messages())


def parse_message(data: bytes, folder: Path) -> bool:
    message = unpack(data)
    _check_ranges(message)
    require(unpack(pack(message)) == message, "a message written again reads as another one")
    return True


def _check_ranges(message: Message) -> None:
    values = message.model_dump()
    require(list(values)[:4] == ["v", "type", "job_id", "session_id"], "it does not start with the four fields")
    for name, value in values.items():
        if isinstance(value, bool):
            continue
        if isinstance(value, int):
            require(0 <= value < (2**63 if name == "seed" else 2**53), f"{name} is {value}")
        elif isinstance(value, float):
            require(math.isfinite(value) and value >= 0, f"{name} is {value}")
        elif isinstance(value, bytes):
            require(len(value) <= 256 * 1024, f"{name} has {len(value)} bytes")


MESSAGE = Target("message", parse_message, _messages, a_message, (WireError,), weight=20)


@cache
def entries() -> list[Fields]:
    """Flat fields of every kind of entry."""
    codes = [pack_codes(*value) for value in CODES.values()]
    written = [
        stream_fields(message, ENTRY_ID, delivered, codes[delivered % 2] if isinstance(message, Audio) else None)
        for delivered, (_, message) in enumerate(MESSAGES.values())
    ]
    flat = [[word if isinstance(word, bytes) else str(word).encode() for word in fields] for fields in written]
    return [*flat, [b"type", b"cancel", b"upto", ENTRY_ID.encode()]]


def _with_value(fields: Fields, other: Fields, at: int, value: bytes, edit: Change[bytes], how: str) -> Fields:
    """An entry's fields with one value edited, replaced, exchanged for another entry's, or left out."""
    at = at % (len(fields) // 2) * 2
    name, old = fields[at], fields[at + 1]
    if how == "other":
        old = other[other.index(name) + 1] if name in other[::2] else b""
    elif how == "edited":
        old = edit(old)
    else:
        old = value
    return [*fields[:at], *([] if how == "gone" else [name, old]), *fields[at + 2 :]]


@cache
def some_fields() -> SearchStrategy[Fields]:
    golden = st.sampled_from(entries())
    values = blobs | integers.map(lambda number: b"%d" % number) | a_message()
    hows = st.sampled_from(("other", "edited", "edited", "new", "new", "new", "gone"))
    return st.builds(_with_value, golden, golden, indices, values, edits, hows)


def parse_entry(data: bytes, folder: Path) -> bool:
    flat: Fields = unpacked(data)
    entry = read_entry(dict(zip(flat[::2], flat[1::2], strict=True)))
    codes = entry.codes
    if codes is not None:
        require(pack_codes(*unpack_codes(codes)) == codes, "codes written again are other ones")
    if entry.message is not None:
        codes = codes if isinstance(entry.message, Audio) else None
        again = stream_fields(entry.message, entry.entry, entry.delivered, codes)
        words = [word if isinstance(word, bytes) else str(word).encode() for word in again]
        reread = read_entry(dict(zip(words[::2], words[1::2], strict=True)))
        require(
            (reread.message, reread.entry, reread.delivered) == (entry.message, entry.entry, entry.delivered), "changed"
        )
    return entry.message is not None


ENTRY = Target(
    "entry",
    parse_entry,
    lambda: [packed(fields) for fields in entries()],
    lambda: some_fields().map(packed),
    (WireError,),
    weight=14,
)


class _Stream:
    """A session's stream that answers XREVRANGE."""

    is_connected = True
    n_breaks = 0

    def __init__(self, entries: list[Fields]) -> None:
        self.scripts: set[str] = set()
        self._ids = [b"%d-%d" % (1760000000000 + n // 7, n % 7) for n in range(len(entries))]
        self._entries = entries

    async def call(self, *command: Any) -> list[list[Any]]:
        upper = command[2]
        end = len(self._ids) if upper == "+" else self._ids.index(upper[1:].encode())
        newest_first = range(end - 1, max(-1, end - 1 - PAGE), -1)
        return [[self._ids[n], self._entries[n]] for n in newest_first]

    async def transaction(self, *commands: Any) -> list[Any]:
        raise NotImplementedError

    async def close(self) -> None: ...


def _progresses() -> list[bytes]:
    kinds = entries()
    begin, audio = kinds[0], kinds[2]
    return [
        packed([begin, audio, audio, kinds[3]]),
        packed([begin, *[audio] * 20, kinds[-1], *kinds[:5]]),
        packed(kinds),
    ]


def a_progress() -> SearchStrategy[bytes]:
    """Streams of golden and changed entries."""
    golden = st.sampled_from(entries())
    audio = st.sampled_from(entries()[2:4])
    streams = st.lists(golden | audio | some_fields(), min_size=1, max_size=12)
    long = st.builds(lambda stream, entry, n: [*stream, *[entry] * n, *stream], streams, audio, st.just(90))
    return mostly(streams, long).map(lambda stream: packed([entries()[0], *stream]))


def parse_progress(data: bytes, folder: Path) -> bool:
    stream: list[Fields] = unpacked(data)
    reading = read_progress(_Stream([fields for fields in stream if fields]), "audio", ENTRY_ID)
    try:
        reading.send(None)  # nothing in it waits: it ends at once
    except StopIteration as ended:
        progress = ended.value
    require(progress.next_seq <= 2**53, "next_seq is beyond every count")
    for chunk in progress.chunks:
        codes = progress.codes_of(chunk.segment)
        require(codes is None or codes.shape[1:] == (16,), "codes of another shape")
    return bool(progress.chunks)


TRAIL = Target("trail", parse_progress, _progresses, a_progress, (WireError,), weight=6)
