"""A second reading of a job's fields, written from the contract's table alone: what is valid, and what it means."""

from __future__ import annotations

import hashlib
import string
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

ID_BYTES = frozenset((string.ascii_letters + string.digits + "._:-").encode())
LANGUAGES = (
    "Chinese", "English", "French", "German", "Italian", "Japanese", "Korean", "Portuguese", "Russian", "Spanish",
    "Auto",
)  # fmt: skip
RATES = ("8000", "16000", "22050", "24000", "44100", "48000")
ENCODINGS = ("pcm_s16le", "pcm_f32le", "mulaw", "alaw")
N_FIELDS = 64
HEX = frozenset(b"0123456789abcdef")
UNREADABLE = object()


def meaning(entry_id: str, flat: Sequence[bytes]) -> dict[str, Any] | None:
    """The job's values by field, or None where a worker must refuse it."""
    names, values = flat[: len(flat) - 1 : 2], flat[1::2]
    given = [(name.decode(), value) for name, value in zip(names, values, strict=True) if name.isascii()]
    known = [(name, value) for name, value in given if name in READERS]
    if len(names) > N_FIELDS or len({name for name, _ in known}) < len(known):
        return None
    read = {name: READERS[name](value) for name, value in known}
    if UNREADABLE in read.values() or "session_id" not in read or ("text" in read) == ("text_from" in read):
        return None
    if "text_from" in read and "job_id" not in read:
        return None
    job_id = read.get("job_id", entry_id)
    digest = hashlib.sha256(f"{read['session_id']} {job_id}".encode()).digest()
    defaults = {
        "job_id": job_id, "voice": None, "language": None, "sample_rate": 24_000, "encoding": "pcm_s16le",
        "ttl_ms": 30_000, "seed": int.from_bytes(digest[:8], "big") // 2, "temperature": None, "traceparent": None,
        "text": None, "text_from": None, "ahead_ms": None,
    }  # fmt: skip
    return {**defaults, **read, "v": 1}


def _name(value: bytes) -> Any:
    return value.decode() if 1 <= len(value) <= 128 and ID_BYTES.issuperset(value) else UNREADABLE


def _utf8(value: bytes) -> Any:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return UNREADABLE


def _text(value: bytes) -> Any:
    text = _utf8(value)
    return text if text is not UNREADABLE and len(text) <= 5000 and text.strip() else UNREADABLE


def _voice(value: bytes) -> Any:
    voice = _utf8(value) if 1 <= len(value) <= 128 else UNREADABLE
    return voice if isinstance(voice, str) and voice.isprintable() else UNREADABLE


def _one_of(words: Sequence[str], any_case: bool = False) -> Callable[[bytes], Any]:
    meant = {(word.lower() if any_case else word).encode(): word for word in words}
    return lambda value: meant.get(value.lower() if any_case else value, UNREADABLE)


def _whole(least: int, most: int) -> Callable[[bytes], Any]:
    """Digits as str(int) writes them."""

    def read(value: bytes) -> Any:
        is_plain = value.isdigit() and len(value) <= 19 and (value == b"0" or value[:1] != b"0")
        return int(value) if is_plain and least <= int(value) <= most else UNREADABLE

    return read


def _ahead(value: bytes) -> Any:
    return 0 if value == b"0" else _whole(3_000, 600_000)(value)


def _temperature(value: bytes) -> Any:
    whole, point, rest = value.partition(b".")
    is_plain = whole.isdigit() and len(whole) <= 4 and (whole == b"0" or whole[:1] != b"0")
    has_rest = rest.isdigit() and len(rest) <= 20 if point else not rest
    return float(Decimal(value.decode())) if is_plain and has_rest and float(value) <= 2 else UNREADABLE


def _traceparent(value: bytes) -> Any:
    parts = value.split(b"-")
    is_shaped = [len(part) for part in parts] == [2, 32, 16, 2] and HEX.issuperset(b"".join(parts))
    means = is_shaped and parts[0] != b"ff" and parts[1].strip(b"0") and parts[2].strip(b"0")
    return value.decode() if means else UNREADABLE


READERS: dict[str, Callable[[bytes], Any]] = {
    "session_id": _name,
    "v": _one_of(["1"]),
    "text": _text,
    "text_from": _one_of(["stream"]),
    "job_id": _name,
    "voice": _voice,
    "language": _one_of(LANGUAGES, any_case=True),
    "sample_rate": lambda value: UNREADABLE if (rate := _one_of(RATES)(value)) is UNREADABLE else int(rate),
    "encoding": _one_of(ENCODINGS),
    "ttl_ms": _whole(1, 300_000),
    "seed": _whole(0, 2**63 - 1),
    "temperature": _temperature,
    "traceparent": _traceparent,
    "ahead_ms": _ahead,
}
