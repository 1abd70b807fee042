"""What stands on a session's stream: messages in msgpack, entries around them, and what a take-over reads of them."""

from __future__ import annotations

import math
from pathlib import Path
from random import Random
from typing import Any

from schemas import WireError, pack, read_entry, unpack
from schemas.golden import CODES, MESSAGES, files
from schemas.messages import Audio, Message
from schemas.wire import pack_codes, stream_fields, unpack_codes
from tests.fuzz import mutate as plain
from tests.fuzz import odd, trees
from tests.fuzz.mutate import rearranged, replaced
from tests.fuzz.target import Target, packed, require, unpacked
from worker.stream.progress import PAGE, read_progress

MODULES = ("schemas.wire", "schemas.messages")
ENTRY_ID = "1760000000000-0"
Fields = list[bytes]


def a_message(draw: Random, data: bytes, other: bytes) -> bytes:
    """The message's tree changed and written again, or its bytes changed; now and then both."""
    if draw.random() < 0.7:
        tree = trees.read(data, unpacked) or trees.Pairs([("type", "audio")])
        data = trees.as_msgpack(draw, plain.several(draw, tree, (trees.changed, _to_the_limit)))
        if draw.random() < 0.8:
            return data
    return plain.mutate(draw, data, other)


def _to_the_limit(draw: Random, tree: Any) -> Any:
    """Texts and samples about as long as a message may be."""
    key, item = draw.choice((("text_spoken", "a"), ("message", "あ"), ("data", b"\0"), ("mood", "x")))
    n = draw.choice((4096, 4097, 65_536, 262_144, 262_145, 278_300, 278_400, 278_528))
    if not isinstance(tree, trees.Pairs):
        return tree
    return trees.Pairs([(name, item * n if name == key else value) for name, value in tree] + [("mood", item)])


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


MESSAGE = Target(
    place="tests.fuzz.targets.wire:MESSAGE",
    seeds=lambda: [data for name, data in files().items() if name.endswith(".msgpack")],
    mutate=a_message,
    parse=parse_message,
    declared=(WireError,),
    weight=20,
    modules=MODULES,
)


def entries() -> list[Fields]:
    """Flat fields of every kind of entry."""
    codes = [pack_codes(*value) for value in CODES.values()]
    written = [
        stream_fields(message, ENTRY_ID, delivered, codes[delivered % 2] if isinstance(message, Audio) else None)
        for delivered, (_, message) in enumerate(MESSAGES.values())
    ]
    flat = [[word if isinstance(word, bytes) else str(word).encode() for word in fields] for fields in written]
    return [*flat, [b"type", b"cancel", b"upto", ENTRY_ID.encode()]]


def an_entry(draw: Random, data: bytes, other: bytes) -> bytes:
    return packed(changed_fields(draw, unpacked(data), unpacked(other)))


def changed_fields(draw: Random, fields: Fields, other: Fields) -> Fields:
    """One field's value changed, exchanged for another entry's, left out or given an odd one."""
    at = draw.randrange(len(fields) // 2) * 2 + 1 if len(fields) > 1 else 0
    if not at:
        return other
    name, value, rest = fields[at - 1], fields[at], (fields[: at - 1], fields[at + 1 :])
    if draw.random() < 0.15:
        return rest[0] + rest[1] or other
    if draw.random() < 0.3 and name in other[::2]:
        value = other[other.index(name) + 1]
    elif name == b"data":
        value = a_message(draw, value, other[-1])
    elif draw.random() < 0.5:
        value = plain.mutate(draw, value, other[-1])
    else:
        value = draw.choice((odd.bytes_of_some_kind(draw), b"%d" % odd.integer(draw)))
    return [*rest[0], name, value, *rest[1]]


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
    place="tests.fuzz.targets.wire:ENTRY",
    seeds=lambda: [packed(fields) for fields in entries()],
    mutate=an_entry,
    parse=parse_entry,
    declared=(WireError,),
    weight=14,
    modules=MODULES,
)


class _Stream:
    """A session's stream that answers XREVRANGE."""

    is_connected = True

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


def a_progress(draw: Random, data: bytes, other: bytes) -> bytes:
    stream, others = unpacked(data), unpacked(other)
    for _ in range(draw.choice((1, 2, 5))):
        at = draw.randrange(len(stream))
        changed = changed_fields(draw, stream[at], draw.choice(others))
        stream = draw.choice((replaced(stream, at, changed), rearranged(draw, stream), others + stream)) or others
    return packed(stream[:200])


def parse_progress(data: bytes, folder: Path) -> bool:
    stream: list[Fields] = unpacked(data)
    reading = read_progress(_Stream([fields for fields in stream if fields]), "audio", ENTRY_ID)
    try:
        reading.send(None)  # nothing in it waits: it ends at once
    except StopIteration as ended:
        progress = ended.value
    require(progress.next_seq <= 2**53, "next_seq is beyond every count")
    for mark in progress.marks:
        codes = progress.codes_of(mark.segment)
        require(codes is None or codes.shape[1:] == (16,), "codes of another shape")
    return bool(progress.marks)


TRAIL = Target(
    place="tests.fuzz.targets.wire:TRAIL",
    seeds=_progresses,
    mutate=a_progress,
    parse=parse_progress,
    declared=(WireError,),
    weight=6,
    modules=("worker.stream.progress",),
)
