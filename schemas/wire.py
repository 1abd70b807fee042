"""Messages as bytes, and as the flat fields of a stream entry: `type job_id entry delivered data … at`.

`data` is one msgpack map that a relay can forward as it is. An audio entry also has `codes`, from which another worker
continues, and an error entry `code` and `message`, for readers of redis-cli. The scripts that write an entry append
`at`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgpack
from pydantic import ValidationError

from schemas.errors import WireError
from schemas.messages import MAX_DATA_BYTES, MESSAGE_OF, Audio, Begin, Error, Message

MAX_MESSAGE_BYTES = 272 * 1024
MAX_CODES_BYTES = 64 * 1024
CODE_FRAME_BYTES = 32  # 16 codebooks, uint16 little-endian
_CODES_HEADER = struct.Struct("<HI")  # segment index, first frame

_entry_id = re.compile(rb"[0-9]{1,20}(?:-[0-9]{1,20})?").fullmatch
_count = re.compile(rb"[0-9]{1,16}").fullmatch


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a session's audio stream.

    message: None for a cancel and for unknown types, which readers skip. job_id and entry may then be "", and delivered
    0. codes: the bytes for `unpack_codes`. upto: the entry id of the last job that a cancel ends. at: ms of the session
    Redis' clock when the entry was written; None where an older worker or a client wrote it.
    """

    type: str
    job_id: str = ""
    entry: str = ""
    delivered: int = 0
    message: Message | None = None
    codes: bytes | None = None
    upto: str | None = None
    at: int | None = None


def pack(message: Message) -> bytes:
    """The message as a msgpack map in the contract's order. Raises WireError above 272 KiB."""
    data: bytes = msgpack.packb(message.model_dump() if isinstance(message, Begin) else message.__dict__)
    if len(data) > MAX_MESSAGE_BYTES:
        raise WireError(
            f"the {message.type} message has {len(data):,} bytes, at most {MAX_MESSAGE_BYTES:,} are allowed"
        )
    return data


def unpack(data: bytes) -> Message:
    """Read a message. Types are strict, a repeated key is an error, unknown keys are ignored. Raises WireError."""
    fields = _unpacked(data)
    kind = fields.get("type")
    model = MESSAGE_OF.get(kind) if isinstance(kind, str) else None
    if model is None:
        raise WireError(f"no message has the type {str(kind)[:40]!r}", f"there are {', '.join(MESSAGE_OF)}")
    try:
        return model.model_validate(fields)
    except ValidationError as problem:
        first = problem.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise WireError(f"{kind} message, field {where}: {first['msg']}") from None


def stream_fields(
    message: Message, entry_id: str, delivered: int, codes: bytes | None = None
) -> list[bytes | str | int]:
    """The flat fields of a stream entry, in the contract's order, to follow XADD's ID.

    entry_id: of the job. delivered: the job's samples up to and including this entry. codes: with audio only.
    Raises WireError.
    """
    fields: list[bytes | str | int] = [
        "type", message.type, "job_id", message.job_id, "entry", entry_id, "delivered", delivered,
        "data", pack(message),
    ]  # fmt: skip
    if codes is not None:
        if not isinstance(message, Audio):
            raise WireError(f"codes belong to audio entries, not to {message.type}")
        fields += ("codes", codes)
    elif isinstance(message, Error):
        fields += ("code", message.code, "message", message.message)
    return fields


def read_entry(fields: Mapping[bytes, bytes]) -> Entry:
    """Read an entry of a session's audio stream. Raises WireError for a known type that breaks the contract."""
    kind = fields.get(b"type", b"").decode("utf-8", "replace")
    if kind not in MESSAGE_OF:
        upto = fields.get(b"upto", b"") if kind == "cancel" else b""
        return Entry(kind, upto=upto.decode() if _entry_id(upto) else None)
    data = fields.get(b"data")
    if data is None:
        raise WireError(f"a {kind} entry has no field data")
    message = unpack(data)
    entry, delivered = fields.get(b"entry", b""), fields.get(b"delivered", b"")
    if not _entry_id(entry) or not _count(delivered):
        raise WireError(f"a {kind} entry has no usable entry or delivered: {entry[:40]!r}, {delivered[:40]!r}")
    if (message.type, message.job_id.encode()) != (kind, fields.get(b"job_id")):
        raise WireError(f"a {kind} entry's fields and its data name different jobs or types")
    at = fields.get(b"at", b"")
    return Entry(
        kind, message.job_id, entry.decode(), int(delivered), message, fields.get(b"codes"),
        at=int(at) if _count(at) else None,
    )  # fmt: skip


def pack_codes(segment: int, first_frame: int, codes: bytes) -> bytes:
    """Codes with their header: segment index uint16, first frame uint32, then frames x 16 uint16, little-endian.

    codes: frames x 32 bytes, or empty for an engine that repeats a segment from its seed. Raises WireError.
    """
    _check_codes(len(codes))
    try:
        return _CODES_HEADER.pack(segment, first_frame) + codes
    except struct.error:
        raise WireError(f"segment {segment} or frame {first_frame} is out of range (uint16, uint32)") from None


def unpack_codes(data: bytes) -> tuple[int, int, bytes]:
    """Segment index, first frame and codes, as `pack_codes` wrote them. Raises WireError."""
    _check_codes(len(data) - _CODES_HEADER.size)
    segment, first_frame = _CODES_HEADER.unpack_from(data)
    return segment, first_frame, data[_CODES_HEADER.size :]


def _check_codes(n_bytes: int) -> None:
    if not 0 <= n_bytes <= MAX_CODES_BYTES or n_bytes % CODE_FRAME_BYTES:
        raise WireError(f"codes of {n_bytes} bytes are not 0 to {MAX_CODES_BYTES:,} in frames of {CODE_FRAME_BYTES}")


def _unpacked(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_MESSAGE_BYTES:
        raise WireError(f"a message of {len(data):,} bytes, at most {MAX_MESSAGE_BYTES:,} are read")
    try:
        fields = msgpack.unpackb(
            data, object_pairs_hook=_map, max_bin_len=MAX_DATA_BYTES, max_array_len=4096, max_map_len=256, max_ext_len=0
        )
    except (ValueError, RecursionError, TypeError, msgpack.exceptions.UnpackException) as problem:
        raise WireError(f"not one msgpack map: {str(problem)[:120] or type(problem).__name__}") from None
    if not isinstance(fields, dict):
        raise WireError(f"a message is a msgpack map, not {type(fields).__name__}")
    return fields


def _map(pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise WireError("a map has the same key twice")
    if not all(isinstance(key, str) for key in fields):
        raise WireError("a map has a key that is not a string")
    return fields
