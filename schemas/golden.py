"""Golden vectors: messages and jobs with the bytes, or the error, that every implementation must produce."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import msgpack

from schemas.errors import ErrorCode, JobError
from schemas.jobs import MAX_SEED, parse_job
from schemas.messages import MAX_COUNT, Audio, Begin, Cancelled, Complete, Error, Message, SegmentStart
from schemas.wire import pack, pack_codes

_JOB: dict[str, Any] = {"job_id": "1760000000000-0", "session_id": "s1"}
_TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
_TEXT = "こんにちは。マキマです。"

MESSAGES: dict[str, tuple[str, Message]] = {
    "begin": (
        "the first attempt",
        Begin(**_JOB, voice="makima", model="preview", sample_rate=24_000, encoding="pcm_s16le", attempt=1),
    ),
    "begin_resumed": (
        "another worker takes over at sample 48,000",
        Begin(
            **_JOB, voice="makima", model="qwen3-tts-1.7b", sample_rate=48_000, encoding="pcm_f32le", attempt=2,
            resumed_at=48_000, resumed_by="codes",
        ),
    ),
    "begin_unlike": (
        "a worker on another kind of processor takes over",
        Begin(
            **_JOB, voice="makima", model="qwen3-tts-1.7b", sample_rate=24_000, encoding="pcm_s16le", attempt=2,
            resumed_at=48_000, resumed_by="codes",
            computed_on="qwen float32 x86_64-AuthenticAMD-25-17 AVX2 torch-2.11.0 weights-0123456789ab",
            resumed_exactly=False,
        ),
    ),
    "begin_language": (
        "a job without a language: the text's script decided",
        Begin(
            **_JOB, voice="makima", model="preview", sample_rate=24_000, encoding="pcm_s16le", attempt=1,
            language="Japanese",
        ),
    ),
    "begin_traced": (
        "a worker with tracing",
        Begin(
            **_JOB, voice="makima", model="preview", sample_rate=24_000, encoding="pcm_s16le", attempt=1,
            traceparent="00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01",
        ),
    ),
    "segment": ("the first piece of the text", SegmentStart(**_JOB, index=0, pos=0, text="こんにちは。")),
    "segment_later": ("the second piece, after one second", SegmentStart(**_JOB, index=1, pos=24_000, text=_TEXT)),
    "audio": (
        "four samples of pcm_s16le: 0, 1, -1, 32767",
        Audio(**_JOB, seq=0, pos=0, data=b"\0\0\1\0\xff\xff\xff\x7f"),
    ),
    "audio_last": ("the last audio of a job may be empty", Audio(**_JOB, seq=7, pos=13_440, data=b"", is_final=True)),
    "audio_long": (
        "bin 16, and counts of 32 and 64 bits",
        Audio(**_JOB, seq=70_000, pos=MAX_COUNT, data=bytes(range(256)) * 2),
    ),
    "complete": (
        "the largest seed; rtf stays a float64 even where it is whole",
        Complete(
            **_JOB, finish="stop", samples=48_000, chunks=25, audio_ms=2_000, queue_ms=1, first_audio_ms=97,
            leading_silence_ms=20, rtf=1.0, seed=MAX_SEED, voice="makima", model="preview", text_spoken=_TEXT,
        ),
    ),
    "complete_silent": (
        "a text with nothing to speak, such as :)",
        Complete(
            **_JOB, finish="silent", samples=0, chunks=1, audio_ms=0, queue_ms=1, first_audio_ms=0,
            leading_silence_ms=0, rtf=0.0, seed=7, voice="makima", model="preview", text_spoken="",
        ),
    ),
    "cancelled": ("cancelled while it was spoken", Cancelled(**_JOB, samples=9_600, text_spoken="こんにちは。")),
    "cancelled_unheard": ("cancelled before it began", Cancelled(**_JOB)),
    "error": (
        "a bad field",
        Error(
            **_JOB, code=ErrorCode.UNSUPPORTED_FORMAT, message="sample_rate is '11025'", field="sample_rate",
            retryable=False,
        ),
    ),
    "error_no_field": (
        "no field is at fault",
        Error(**_JOB, code=ErrorCode.WORKER_LOST, message="every attempt was lost", retryable=True),
    ),
}  # fmt: skip

CODES: dict[str, tuple[int, int, bytes]] = {
    "codes": (1, 70_000, b"".join(code.to_bytes(2, "little") for code in range(2_016, 2_048))),
    "codes_position": (65_535, 12, b""),
}


@dataclass(frozen=True, slots=True)
class Variant:
    """Bytes that no worker of this version writes. reads_as: the message that they mean, or None if invalid."""

    note: str
    value: Any
    reads_as: str | None = None


def variants() -> dict[str, Variant]:
    """Bytes that every reader must accept, and bytes that it must reject."""
    begin = MESSAGES["begin"][1].model_dump()
    audio = MESSAGES["audio"][1].model_dump()
    error = MESSAGES["error_no_field"][1].model_dump()
    without = {key: value for key, value in begin.items() if key != "resumed_by"}
    return {
        "newer_unknown_key": Variant("a later contract added a key: skip it", begin | {"mood": ["calm"]}, "begin"),
        "newer_order": Variant("keys are read in any order", dict(reversed(begin.items())), "begin"),
        "newer_nil_left_out": Variant("a key that may be nil may be missing", without, "begin"),
        "bad_version": Variant("v 2 is another contract: reject it", begin | {"v": 2}),
        "bad_seq_text": Variant("seq must be an integer, not a string", audio | {"seq": "0"}),
        "bad_seq_negative": Variant("counts are unsigned", audio | {"seq": -1}),
        "bad_no_retryable": Variant("a key is missing", {key: error[key] for key in list(error)[:-1]}),
    }


JOBS: dict[str, list[tuple[str, bytes]]] = {
    "the least": [("session_id", b"s1"), ("text", b"Hello, I am Makima.")],
    "everything": [
        ("session_id", b"web:7f.3-a_b"), ("text", _TEXT.encode()), ("v", b"1"), ("job_id", b"greeting-1"),
        ("voice", b"makima"), ("language", b"JAPANESE"), ("sample_rate", b"48000"), ("encoding", b"pcm_f32le"),
        ("ttl_ms", b"300000"), ("seed", str(MAX_SEED).encode()), ("temperature", b"0.75"),
        ("traceparent", _TRACE), ("ahead_ms", b"3000"),
    ],
    "a text that is being written": [("session_id", b"s1"), ("text_from", b"stream"), ("job_id", b"u7")],
    "text and text_from": [
        ("session_id", b"s1"), ("text", b"Hi."), ("text_from", b"stream"), ("job_id", b"u7"),
    ],
    "text_from without job_id": [("session_id", b"s1"), ("text_from", b"stream")],
    "text from somewhere else": [("session_id", b"s1"), ("text_from", b"file"), ("job_id", b"u7")],
    "no limit of its lead": [("session_id", b"s1"), ("text", b"Hi."), ("ahead_ms", b"0")],
    "a lead that is too short": [("session_id", b"s1"), ("text", b"Hi."), ("ahead_ms", b"2999")],
    "unknown fields are ignored": [("mood", b"\xff"), ("session_id", b"s1"), ("text", b"Hi.")],
    "a field given twice": [
        ("session_id", b"s1"), ("text", b"one"), ("text", b""), ("session_id", b"{}"),
    ],
    "no session": [("text", b"Hi.")],
    "a session that could not be a key": [("session_id", b"{s1}"), ("text", b"Hi.")],
    "a session of 129 characters": [("session_id", b"s" * 129), ("text", b"Hi.")],
    "another version": [("session_id", b"s1"), ("text", b"Hi."), ("v", b"2")],
    "no text": [("session_id", b"s1")],
    "only spaces": [("session_id", b"s1"), ("text", " \u3000\n".encode())],
    "a text with nothing to speak": [("session_id", b"s1"), ("text", b":)")],
    "text of 5,001 characters": [("session_id", b"s1"), ("text", "あ".encode() * 5_001)],
    "text that is not UTF-8": [("session_id", b"s1"), ("text", b"caf\xe9")],
    "the WebSocket's word": [("session_id", b"s1"), ("text", b"Hi."), ("encoding", b"pcm16")],
    "a rate not offered": [("session_id", b"s1"), ("text", b"Hi."), ("sample_rate", b"11025")],
    "a language not spoken": [("session_id", b"s1"), ("text", b"Hi."), ("language", b"Klingon")],
    "a number with a sign": [("session_id", b"s1"), ("text", b"Hi."), ("ttl_ms", b"+5")],
    "a seed of 2^63": [("session_id", b"s1"), ("text", b"Hi."), ("seed", str(2**63).encode())],
    "a temperature with an exponent": [("session_id", b"s1"), ("text", b"Hi."), ("temperature", b"1e0")],
    "a trace of zeros": [
        ("session_id", b"s1"), ("text", b"Hi."), ("traceparent", b"00-" + b"0" * 32 + b"-b7ad6b7169203331-01"),
    ],
}  # fmt: skip


def files() -> dict[str, bytes]:
    """File name to content, without the index."""
    messages = {f"{name}.msgpack": pack(message) for name, (_, message) in MESSAGES.items()}
    others = {f"{name}.msgpack": msgpack.packb(variant.value) for name, variant in variants().items()}
    codes = {f"{name}.bin": pack_codes(*value) for name, value in CODES.items()}
    return messages | others | codes


def index() -> dict[str, Any]:
    """The value of every file, as JSON; bytes are `{"base64": ...}`."""
    return {
        "messages": [
            {"file": f"{name}.msgpack", "note": note, "value": _plain(message.model_dump())}
            for name, (note, message) in MESSAGES.items()
        ],
        "variants": [
            {"file": f"{name}.msgpack", "note": variant.note, "reads_as": variant.reads_as}
            for name, variant in variants().items()
        ],
        "codes": [
            {"file": f"{name}.bin", "segment": segment, "first_frame": first, "codes": _plain(codes)}
            for name, (segment, first, codes) in CODES.items()
        ],
        "jobs": [_job(note, fields) for note, fields in JOBS.items()],
    }


def _job(note: str, fields: list[tuple[str, bytes]]) -> dict[str, Any]:
    written = [[name, _plain(value)] for name, value in fields]
    flat = [item for name, value in fields for item in (name.encode(), value)]
    try:
        job = parse_job("1760000000000-0", flat)
    except JobError as problem:
        return {"note": note, "fields": written, "error": {"code": problem.code, "field": problem.field}}
    read = {name: getattr(job, name) for name in job.__slots__}
    return {"note": note, "fields": written, "job": read}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value
