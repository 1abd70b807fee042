"""The JSON Schemas (2020-12) of a job's fields and of every message, built from the models that read them."""

from __future__ import annotations

from typing import Any

from schemas.job_values import (
    AHEAD_PATTERN,
    DECIMAL_PATTERN,
    DEFAULT_SAMPLE_RATE_HZ,
    DEFAULT_TTL_MS,
    ID_PATTERN,
    INTEGER_PATTERN,
    LANGUAGES,
    MAX_AHEAD_MS,
    MAX_SEED,
    MAX_TEMPERATURE,
    MAX_TEXT_CHARS,
    MAX_TTL_MS,
    MAX_VOICE_BYTES,
    MIN_AHEAD_MS,
    SAMPLE_RATES,
    TRACEPARENT_PATTERN,
    Encoding,
)
from schemas.jobs import MAX_FIELDS
from schemas.messages import LEFT_OUT_WHEN_NIL, MESSAGE_OF

Document = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"

MESSAGE_FIELDS: dict[str, str] = {
    "v": "version of the contract",
    "type": "kind of message",
    "job_id": "the job's job_id, or its entry id where it has none",
    "session_id": "the session that receives the audio",
    "voice": "name of the voice card",
    "model": "name of the speech model, or preview",
    "sample_rate": "Hz, as the job asked",
    "encoding": "of the samples in audio.data, as the job asked",
    "attempt": "from 1; an attempt that delivered new samples starts the count again",
    "resumed_at": "samples delivered before this attempt; 0 at the first",
    "resumed_by": "how a take-over found its place; nil when nothing had been delivered",
    "computed_on": "engine, processor or GPU, libraries and dtype, on which the samples depend beside job and voice",
    "resumed_exactly": "after a take-over: true when every sample is as without it; false when single samples may"
    " differ by one step of 16 bits or, after regenerated, a word may be spoken in another way",
    "language": "language of the speech: the job's, or the one that the text's script decided",
    "traceparent": "W3C Trace Context of this attempt's span; missing where the worker traces nothing",
    "index": "number of the segment within the job, from 0; of one index the later message holds",
    "seq": "number of the chunk within the job, from 0, across take-overs",
    "pos": "index within the job of the first sample in data, or of the segment",
    "data": "samples: mono, little-endian, in begin.encoding at begin.sample_rate",
    "is_final": "true on the last audio message of a job that completes, and only there; its data may be empty",
    "finish": "stop: spoken to the end; length: the frame budget was used up; runaway: stopped, it made no speech;"
    " silent: the text has nothing to speak, so there is no sample and every figure of the audio is 0",
    "samples": "samples delivered, all attempts together",
    "chunks": "audio messages delivered, all attempts together",
    "audio_ms": "length of the audio, ms",
    "queue_ms": "from XADD to BEGIN, ms",
    "first_audio_ms": "from XADD to the first audible chunk, ms; 0 where the finish is silent",
    "leading_silence_ms": "silence before the first audible sample, ms",
    "rtf": "real-time factor: synthesis time divided by the audio's length; below 1 is faster than real time",
    "seed": "the seed used; above 2^53 JavaScript numbers are not exact",
    "text": "the segment's text after cleaning, without the respelling of a voice's lexicon",
    "text_spoken": "the text that was made into audio, after cleaning; of a cancelled job the part that was begun, or"
    " nil. What was heard of it follows from the segments and the samples that were played",
    "code": "kind of error; treat an unknown code as internal",
    "message": "problem and remedy in one sentence, for people",
    "field": "the job's field at fault, or nil",
    "retryable": "true when the same job under a new job_id may well succeed",
}


def job_schema() -> Document:
    """The flat fields of an entry of the job stream; every value is a UTF-8 string, as in XADD."""
    return {
        "$schema": DIALECT,
        "$id": "urn:makima-tts:v1:job",
        "title": "Job",
        "description": "One speak job as flat stream fields. Unknown fields are ignored. A repeated field, more than"
        f" {MAX_FIELDS} fields or an invalid value end the job with an error that names the field.",
        "type": "object",
        "required": ["session_id"],
        "oneOf": [{"required": ["text"]}, {"required": ["text_from", "job_id"]}],
        "properties": {
            "session_id": _text("the session that receives the audio; new for each connection", _whole(ID_PATTERN)),
            "v": {"type": "string", "const": "1", "default": "1", "description": "version of the contract"},
            "text": {
                "type": "string",
                "pattern": r"\S",
                "maxLength": MAX_TEXT_CHARS,
                "description": "the text to speak; a worker may be set to another limit in characters. Of a text"
                " without anything speakable, such as an emoji, the job completes with the finish silent",
            },
            "text_from": {
                "type": "string",
                "const": "stream",
                "description": "the text is read from the stream <prefix>:{<session_id>}:text:<job_id> while it is"
                " being written; in place of text, and with a job_id",
            },
            "job_id": _text("the same again in a session is the same job (default: the entry id)", _whole(ID_PATTERN)),
            "voice": {
                "type": "string",
                "minLength": 1,
                "maxLength": MAX_VOICE_BYTES,
                "description": "name of a voice card (default: the worker's default voice)",
            },
            "language": {
                "type": "string",
                "enum": list(LANGUAGES),
                "description": "upper or lower case (default: by the text's script, see vectors/README.md)",
            },
            "sample_rate": {
                "type": "string",
                "enum": [str(rate) for rate in SAMPLE_RATES],
                "default": str(DEFAULT_SAMPLE_RATE_HZ),
                "description": "Hz",
            },
            "encoding": {
                "type": "string",
                "enum": [str(encoding) for encoding in Encoding],
                "default": str(Encoding.PCM_S16LE),
                "description": "mono; the WebSocket protocol calls pcm_s16le pcm16",
            },
            "ttl_ms": _text(
                f"1 to {MAX_TTL_MS}: from publishing to the first attempt, without the time for which the session's"
                " job before it was held; a job that has begun never expires",
                _whole(INTEGER_PATTERN),
                str(DEFAULT_TTL_MS),
            ),
            "seed": _text(f"0 to {MAX_SEED} (default: derived from session_id and job_id)", _whole(INTEGER_PATTERN)),
            "temperature": _text(f"0 to {MAX_TEMPERATURE:g} (default: the voice card's)", _whole(DECIMAL_PATTERN)),
            "traceparent": _text("W3C Trace Context of the publisher's span", _whole(TRACEPARENT_PATTERN)),
            "ahead_ms": _text(
                f"{MIN_AHEAD_MS} to {MAX_AHEAD_MS}, or 0 for no limit: how far the speech may be ahead of a listener"
                " who plays it from its first audio entry on (default: the worker's setting)",
                _whole(AHEAD_PATTERN),
            ),
        },
    }  # fmt: skip


def message_schema(kind: str) -> Document:
    """The msgpack map of one type of message, as a worker writes it."""
    model = MESSAGE_OF[kind]
    schema = model.model_json_schema(mode="validation")
    properties = {name: _described(name, schema["properties"][name]) for name in model.model_fields}
    return {
        "$schema": DIALECT,
        "$id": f"urn:makima-tts:v1:{kind}",
        "title": schema["title"],
        "description": schema["description"],
        "type": "object",
        "required": [name for name in model.model_fields if name not in LEFT_OUT_WHEN_NIL],
        "properties": properties,
    }


def schemas() -> dict[str, Document]:
    """File stem to JSON Schema."""
    return {"job": job_schema()} | {kind: message_schema(kind) for kind in MESSAGE_OF}


def _described(name: str, schema: Document) -> Document:
    described = {key: value for key, value in schema.items() if key not in {"title", "default"}}
    texts = [MESSAGE_FIELDS[name], *filter(None, [described.pop("description", "")])]
    return described | {"description": "; ".join(texts)}


def _text(description: str, pattern: str, default: str | None = None) -> Document:
    schema: Document = {"type": "string", "pattern": pattern, "description": description}
    return schema if default is None else schema | {"default": default}


def _whole(pattern: str) -> str:
    return f"^(?:{pattern})$"
