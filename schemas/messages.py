"""The messages of a job: begin, then segments and audio, then exactly one of complete, cancelled and error.

Fields are in the order in which they are written. Counts, indexes and milliseconds are unsigned integers. Fields whose
values may grow with the contract (finish, resumed_by, code, encoding) accept any word, so that an old reader can read a
newer worker; KNOWN_WORDS lists the current values. A bad value raises pydantic.ValidationError.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, WithJsonSchema, model_serializer

from schemas.errors import ErrorCode
from schemas.jobs import MAX_ID_CHARS, MAX_SEED, VERSION, Encoding

MAX_DATA_BYTES = 256 * 1024
MAX_SEGMENTS = 2**16  # the index is a uint16 in `codes`
MAX_SEGMENT_CHARS = 4096
MAX_COUNT = 2**53 - 1  # the largest exact integer of JSON readers: 6,000 years of samples at 48 kHz

KNOWN_WORDS: dict[str, tuple[str, ...]] = {
    "encoding": tuple(Encoding),
    "resumed_by": ("codes", "regenerated"),
    "finish": ("stop", "length", "runaway", "silent"),
    "code": tuple(ErrorCode),
}


def _word(name: str) -> Any:
    return Field(pattern=r"^[a-z][a-z0-9_]{0,63}$", examples=[str(word) for word in KNOWN_WORDS[name]])


# Literal[1] would take True for 1
Version = Annotated[int, Field(ge=VERSION, le=VERSION), WithJsonSchema({"type": "integer", "const": VERSION})]
Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Name = Annotated[str, Field(min_length=1, max_length=256)]
Id = Annotated[str, Field(pattern=rf"^[A-Za-z0-9._:-]{{1,{MAX_ID_CHARS}}}$")]
EncodedSamples = Annotated[
    bytes,
    Field(max_length=MAX_DATA_BYTES),
    WithJsonSchema(
        {
            "type": "string",
            "contentEncoding": "base64",
            "description": f"msgpack bin of at most {MAX_DATA_BYTES:,} bytes; base64 only where JSON carries it",
        }
    ),
]


# Keys that were added later. They are left out where they are nil, so that the bytes of older messages stay the same.
LEFT_OUT_WHEN_NIL = frozenset({"computed_on", "resumed_exactly", "language", "traceparent"})


class _Message(BaseModel):
    """The four fields with which every message starts."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    v: Version = VERSION
    type: str
    job_id: Id
    session_id: Id


class Begin(_Message):
    """An attempt at a job starts: the first one, or one that continues at sample `resumed_at`."""

    type: Literal["begin"] = "begin"
    voice: Name
    model: Name
    sample_rate: Annotated[int, Field(ge=1, le=1_000_000)]
    encoding: Annotated[str, _word("encoding")]
    attempt: Annotated[int, Field(ge=1, le=MAX_COUNT)]
    resumed_at: Count = 0
    resumed_by: Annotated[str, _word("resumed_by")] | None = None
    computed_on: Annotated[str, Field(pattern=r"^[ -~]{1,256}$")] | None = None
    resumed_exactly: bool | None = None
    language: Name | None = None
    traceparent: Annotated[str, Field(pattern=r"^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")] | None = None

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in write(self).items() if value is not None or key not in LEFT_OUT_WHEN_NIL}


class SegmentStart(_Message):
    """A piece of the text starts at sample `pos`: the `index`-th, from 0. Of one index the later message holds."""

    type: Literal["segment"] = "segment"
    index: Annotated[int, Field(ge=0, le=MAX_SEGMENTS - 1)]
    pos: Count
    text: Annotated[str, Field(min_length=1, max_length=MAX_SEGMENT_CHARS)]


class Audio(_Message):
    """A chunk: `data` in the job's encoding, `pos` the index of its first sample, `seq` its number from 0."""

    type: Literal["audio"] = "audio"
    seq: Count
    pos: Count
    data: EncodedSamples
    is_final: bool = False


class Complete(_Message):
    """The job was spoken to its end, or had nothing to speak (`silent`). The figures cover all attempts."""

    type: Literal["complete"] = "complete"
    finish: Annotated[str, _word("finish")]
    samples: Count
    chunks: Count
    audio_ms: Count
    queue_ms: Count
    first_audio_ms: Count
    leading_silence_ms: Count
    rtf: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    seed: Seed
    voice: Name
    model: Name
    text_spoken: str


class Cancelled(_Message):
    """The job was cancelled after `samples` samples. text_spoken is nil where it is not known."""

    type: Literal["cancelled"] = "cancelled"
    samples: Count = 0
    text_spoken: str | None = None


class Error(_Message):
    """The job failed: a code, a message with the remedy, and the job's field at fault or nil."""

    type: Literal["error"] = "error"
    code: Annotated[str, _word("code")]
    message: Annotated[str, Field(min_length=1, max_length=4096)]
    field: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    retryable: bool


Message = Begin | SegmentStart | Audio | Complete | Cancelled | Error

MESSAGE_OF: dict[str, type[Begin | SegmentStart | Audio | Complete | Cancelled | Error]] = {
    "begin": Begin,
    "segment": SegmentStart,
    "audio": Audio,
    "complete": Complete,
    "cancelled": Cancelled,
    "error": Error,
}
TERMINAL_TYPES = frozenset({"complete", "cancelled", "error"})
