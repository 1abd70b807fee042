"""The values of a job's fields: their limits and patterns, and one strict reader for each field.

A reader takes the known fields of an entry and returns the value, or its default where the field is missing. It raises
JobError for a bad value. Lengths are checked in bytes before anything is decoded.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NoReturn

from schemas.errors import ErrorCode, JobError

VERSION = 1
MAX_TEXT_CHARS = 5_000
DEFAULT_TTL_MS = 30_000
MAX_TTL_MS = 300_000
MIN_AHEAD_MS = 3_000
MAX_AHEAD_MS = 600_000
MAX_SEED = 2**63 - 1
MAX_TEMPERATURE = 2.0
DEFAULT_SAMPLE_RATE_HZ = 24_000
SAMPLE_RATES = (8_000, 16_000, 22_050, 24_000, 44_100, 48_000)
LANGUAGES = (
    "Chinese", "English", "Japanese", "Korean", "German", "French", "Russian", "Portuguese", "Spanish",
    "Italian", "Auto",
)  # fmt: skip

MAX_ID_CHARS = 128
MAX_VOICE_BYTES = 128
MAX_NUMBER_CHARS = 32
MAX_UTF8_BYTES_PER_CHAR = 4
MAX_DECIMALS = 20

ID_PATTERN = rf"[A-Za-z0-9._:-]{{1,{MAX_ID_CHARS}}}"
INTEGER_PATTERN = r"(?:0|[1-9][0-9]{0,18})"
DECIMAL_PATTERN = rf"(?:0|[1-9][0-9]{{0,3}})(?:\.[0-9]{{1,{MAX_DECIMALS}}})?"
AHEAD_PATTERN = r"(?:0|[3-9][0-9]{3}|[1-9][0-9]{4}|[1-5][0-9]{5}|600000)"  # MIN_AHEAD_MS to MAX_AHEAD_MS
TRACEPARENT_PATTERN = r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"


class Encoding(StrEnum):
    """The sample format of a job's audio. All are mono; the two PCM formats are little-endian."""

    PCM_S16LE = "pcm_s16le"
    PCM_F32LE = "pcm_f32le"
    MULAW = "mulaw"
    ALAW = "alaw"


is_id = re.compile(ID_PATTERN.encode()).fullmatch
_is_integer = re.compile(INTEGER_PATTERN.encode()).fullmatch
_is_decimal = re.compile(DECIMAL_PATTERN.encode()).fullmatch
_is_ahead = re.compile(AHEAD_PATTERN.encode()).fullmatch
_is_traceparent = re.compile(TRACEPARENT_PATTERN.encode()).fullmatch

_LANGUAGE_OF = {language.lower().encode(): language for language in LANGUAGES}
_ENCODING_OF = {encoding.value.encode(): encoding for encoding in Encoding}
_RATE_OF = {str(rate).encode(): rate for rate in SAMPLE_RATES}

Fields = dict[str, bytes]


def read_session_id(given: Fields) -> str:
    value = given.get("session_id")
    if value is None:
        remedy = "name the session that receives the audio"
        raise JobError(ErrorCode.INVALID_FIELD, "session_id is missing", "session_id", remedy)
    if not is_id(value):
        _refuse_id("session_id", value)
    return value.decode("ascii")


def read_job_id(given: Fields, entry_id: str) -> str:
    value = given.get("job_id")
    if value is None:
        return entry_id
    if not is_id(value):
        _refuse_id("job_id", value)
    return value.decode("ascii")


def _refuse_id(name: str, value: bytes) -> NoReturn:
    _refuse(name, value, f"use 1 to {MAX_ID_CHARS} characters of A-Z a-z 0-9 . _ : -", MAX_ID_CHARS)


def read_version(given: Fields) -> int:
    value = given.get("v")
    if value is not None and value != b"1":
        _refuse("v", value, "this worker supports version 1", MAX_NUMBER_CHARS, ErrorCode.INVALID_VERSION)
    return VERSION


def read_is_open(given: Fields) -> bool:
    """Whether the text comes from a stream. Raises JobError."""
    value = given.get("text_from")
    if value is None:
        return False
    if value != b"stream":
        _refuse("text_from", value, "use stream, or send the text itself in text", MAX_NUMBER_CHARS)
    if "text" in given:
        problem = "text and text_from are both given"
        raise JobError(ErrorCode.INVALID_FIELD, problem, "text_from", "send one of them")
    if "job_id" not in given:
        remedy = "choose a job_id: it names the text's stream"
        raise JobError(ErrorCode.INVALID_FIELD, "text_from is given without a job_id", "job_id", remedy)
    return True


def read_text(given: Fields, max_chars: int) -> str:
    value = given.get("text")
    if value is None:
        raise JobError(ErrorCode.TEXT_EMPTY, "text is missing", "text", "send the text to speak")
    if len(value) > max_chars * MAX_UTF8_BYTES_PER_CHAR:
        raise text_too_long(f"{len(value):,} bytes", max_chars)
    text = _decoded("text", value)
    if len(text) > max_chars:
        raise text_too_long(f"{len(text):,} characters", max_chars)
    if not text or text.isspace():
        raise text_empty()
    return text


def text_empty() -> JobError:
    return JobError(ErrorCode.TEXT_EMPTY, "text is empty", "text", "send the text to speak")


def text_too_long(length: str, max_chars: int) -> JobError:
    """length: with its unit, such as "6,000 characters"."""
    problem = f"text has {length}, at most {max_chars:,} characters are spoken"
    return JobError(ErrorCode.TEXT_TOO_LONG, problem, "text", "split it into several jobs")


def read_voice(given: Fields) -> str | None:
    value = given.get("voice")
    if value is None:
        return None
    remedy = f"use the name of a voice, 1 to {MAX_VOICE_BYTES} bytes of printable text, or leave the field out"
    if not 0 < len(value) <= MAX_VOICE_BYTES:
        _refuse("voice", value, remedy, MAX_VOICE_BYTES)
    voice = _decoded("voice", value)
    if not voice.isprintable():
        _refuse("voice", value, remedy, MAX_VOICE_BYTES)
    return voice


def read_language(given: Fields) -> str | None:
    value = given.get("language")
    if value is None:
        return None
    language = _LANGUAGE_OF.get(value.lower()) if len(value) <= MAX_NUMBER_CHARS else None
    if language is None:
        _refuse("language", value, f"use one of {', '.join(LANGUAGES)}", MAX_NUMBER_CHARS)
    return language


def read_sample_rate(given: Fields) -> int:
    value = given.get("sample_rate")
    if value is None:
        return DEFAULT_SAMPLE_RATE_HZ
    rate = _RATE_OF.get(value)
    if rate is None:
        remedy = f"use one of {', '.join(map(str, SAMPLE_RATES))}"
        _refuse("sample_rate", value, remedy, MAX_NUMBER_CHARS, ErrorCode.UNSUPPORTED_FORMAT)
    return rate


def read_encoding(given: Fields) -> Encoding:
    value = given.get("encoding")
    if value is None:
        return Encoding.PCM_S16LE
    encoding = _ENCODING_OF.get(value)
    if encoding is None:
        remedy = f"use one of {', '.join(Encoding)}"
        if value[:6].lower() == b"pcm16":
            remedy = "use pcm_s16le, which the WebSocket protocol calls pcm16"
        _refuse("encoding", value, remedy, MAX_NUMBER_CHARS, ErrorCode.UNSUPPORTED_FORMAT)
    return encoding


def read_integer(given: Fields, name: str, least: int, most: int) -> int | None:
    value = given.get(name)
    if value is None:
        return None
    if not _is_integer(value) or not least <= int(value) <= most:
        _refuse(name, value, f"use a whole number from {least} to {most}, digits only", MAX_NUMBER_CHARS)
    return int(value)


def read_temperature(given: Fields) -> float | None:
    value = given.get("temperature")
    if value is None:
        return None
    if not _is_decimal(value) or float(value) > MAX_TEMPERATURE:
        _refuse("temperature", value, "use a decimal number from 0 to 2, such as 0.7", MAX_NUMBER_CHARS)
    return float(value)


def read_traceparent(given: Fields) -> str | None:
    value = given.get("traceparent")
    if value is None:
        return None
    if not _is_traceparent(value):
        _refuse("traceparent", value, "use the W3C form 00-<32 hex>-<16 hex>-<2 hex>, or leave it out", 64)
    return value.decode("ascii")


def read_ahead_ms(given: Fields) -> int | None:
    value = given.get("ahead_ms")
    if value is None:
        return None
    if not _is_ahead(value):
        remedy = f"use a whole number from {MIN_AHEAD_MS} to {MAX_AHEAD_MS}, or 0 for no limit"
        _refuse("ahead_ms", value, remedy, MAX_NUMBER_CHARS)
    return int(value)


def _decoded(name: str, value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        problem = f"{name} is not UTF-8 (byte {error.start})"
        raise JobError(ErrorCode.INVALID_FIELD, problem, name, "encode it as UTF-8") from None


def _refuse(
    name: str, value: bytes, remedy: str, max_bytes: int, code: ErrorCode = ErrorCode.INVALID_FIELD
) -> NoReturn:
    """Raise the JobError of a bad value: too long, not UTF-8, or not allowed. remedy: for all but the second."""
    if len(value) > max_bytes:
        raise JobError(code, f"{name} has {len(value):,} bytes", name, remedy)
    raise JobError(code, f"{name} is {_decoded(name, value)!r}", name, remedy)
