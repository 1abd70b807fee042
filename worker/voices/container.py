"""A recording's container: which files are decoded, and WAV headers whose sizes are wrong.

A program that writes WAV to a pipe, or that is stopped, leaves a data size of 0 or of what it had written by then.
libsndfile follows such a size and drops the rest; sizes beyond the file's end it corrects itself.
"""

from __future__ import annotations

import re

# libsndfile's other formats (MIDI dumps, Amiga, samplers) hold no voice recordings, and their readers are little
# tested: one of them prints to stdout.
_DECODABLE = re.compile(rb"RIFF|RF64|BW64|riff|FORM....AIF|caff|\.snd|fLaC|OggS|ID3|\xff[\xe0-\xff]", re.DOTALL)
_UNSUPPORTED = {
    "M4A, MP4 or 3GP": re.compile(rb"....ftyp", re.DOTALL),
    "AAC": re.compile(rb"\xff[\xf0\xf1\xf8\xf9]|ADIF"),
    "AMR": re.compile(rb"#!AMR"),
    "WebM or Matroska": re.compile(rb"\x1aE\xdf\xa3"),
    "WMA": re.compile(rb"0&\xb2u\x8ef\xcf\x11"),
    "AVI": re.compile(rb"RIFF....AVI ", re.DOTALL),
    "WavPack": re.compile(rb"wvpk"),
    "Monkey's Audio": re.compile(rb"MAC "),
    "ZIP": re.compile(rb"PK\x03\x04"),
}
_WAVE = re.compile(rb"(?:RIFF|RF64|BW64)....WAVE", re.DOTALL)
_NAME = re.compile(rb"[\x20-\x7e]{4}")
_UNKNOWN = 0xFFFF_FFFF
_MIN_LOST_BYTES = 4096  # behind a data chunk: fewer are some program's mark, more are samples


def unsupported(data: bytes) -> str | None:
    """The name of a known format that cannot be decoded."""
    return next((name for name, form in _UNSUPPORTED.items() if form.match(data)), None)


def is_decodable(data: bytes) -> bool:
    """Whether the first bytes are those of a container that is decoded."""
    return _DECODABLE.match(data) is not None


def mended(data: bytes) -> bytes:
    """The file, if it is a WAV file with the data's size as it is in the file. RF64 and BW64 become RIFF."""
    if not _WAVE.match(data):
        return data
    at, wide = 12, None
    while data[at : at + 4] != b"data":
        size = _size(data, at)
        if size is None:
            return data
        if data[at : at + 4] == b"ds64":
            wide = int.from_bytes(data[at + 16 : at + 24], "little")
        at += 8 + size + size % 2
    size = _size(data, at)
    if size is None:
        return data
    start = at + 8
    if size == _UNKNOWN and wide is not None:
        size = wide
    true_size = _true_size(data, start, size)
    if true_size == size and data[:4] == b"RIFF":
        return data
    head = data[12:at].replace(b"ds64", b"JUNK", 1)
    chunk = b"data" + true_size.to_bytes(4, "little")
    return b"RIFF" + (len(data) - 8).to_bytes(4, "little") + b"WAVE" + head + chunk + data[start:]


def _true_size(data: bytes, start: int, size: int) -> int:
    end = start + size
    if size and end >= len(data):
        return min(size, len(data) - start) if data[:4] != b"RIFF" else size
    behind = data[end : end + 3]
    if _are_chunks(data, end) or _are_chunks(data, end + size % 2) or behind in (b"ID3", b"TAG"):
        return size
    if size and len(data) - end < _MIN_LOST_BYTES:
        return size
    tags = data.rfind(b"LIST", end)
    return (tags if tags >= 0 and _are_chunks(data, tags) else len(data)) - start


def _are_chunks(data: bytes, at: int) -> bool:
    """Whether chunks follow one another from here to the file's end."""
    for _ in range(64):
        if at >= len(data):
            return True
        size = _size(data, at)
        if size is None or not _NAME.match(data, at) or at + 8 + size > len(data):
            return False
        at += 8 + size + size % 2
    return False


def _size(data: bytes, at: int) -> int | None:
    """The size in a chunk's header; None where the file has no whole header."""
    return int.from_bytes(data[at + 4 : at + 8], "little") if at + 8 <= len(data) else None
