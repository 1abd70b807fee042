"""The speak job: flat stream fields that a client publishes, and the strict parser for them.

`parse_job` takes any bytes and returns a Job or raises JobError, nothing else. It checks lengths in bytes before it
decodes, so that a field of 10 MB costs no more than a short one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from schemas.errors import ErrorCode, JobError
from schemas.job_values import (
    DEFAULT_TTL_MS,
    LANGUAGES,
    MAX_AHEAD_MS,
    MAX_DECIMALS,
    MAX_ID_CHARS,
    MAX_SEED,
    MAX_TEXT_CHARS,
    MAX_TTL_MS,
    MAX_UTF8_BYTES_PER_CHAR,
    MIN_AHEAD_MS,
    SAMPLE_RATES,
    VERSION,
    Encoding,
    Fields,
    is_id,
    read_ahead_ms,
    read_encoding,
    read_integer,
    read_is_open,
    read_job_id,
    read_language,
    read_sample_rate,
    read_session_id,
    read_temperature,
    read_text,
    read_traceparent,
    read_version,
    read_voice,
    text_empty,
    text_too_long,
)

__all__ = [
    "DEFAULT_TTL_MS",
    "JOB_FIELDS",
    "LANGUAGES",
    "MAX_AHEAD_MS",
    "MAX_FIELDS",
    "MAX_ID_CHARS",
    "MAX_SEED",
    "MAX_TEXT_CHARS",
    "MAX_TTL_MS",
    "MAX_UTF8_BYTES_PER_CHAR",
    "MIN_AHEAD_MS",
    "SAMPLE_RATES",
    "VERSION",
    "Encoding",
    "Job",
    "derived_seed",
    "field_of",
    "job_fields",
    "job_id_of",
    "parse_job",
    "session_id_of",
    "text_empty",
    "text_too_long",
]

JOB_FIELDS = (
    "session_id", "v", "text", "text_from", "job_id", "voice", "language", "sample_rate", "encoding", "ttl_ms", "seed",
    "temperature", "traceparent", "ahead_ms",
)  # fmt: skip
MAX_FIELDS = 64


@dataclass(frozen=True, slots=True)
class Job:
    """One valid speak job.

    text: None for an open text, which is read from a stream (text_from) while it is being written. voice: None for the
    worker's default. language: None where the text's script decides. seed: derived where the job has none.
    traceparent: W3C Trace Context. ahead_ms: how far the speech may be ahead of its listener; 0 for no limit, None for
    the worker's.
    """

    entry_id: str
    session_id: str
    text: str | None
    text_from: str | None
    v: int
    job_id: str
    voice: str | None
    language: str | None
    sample_rate: int
    encoding: Encoding
    ttl_ms: int
    seed: int
    temperature: float | None
    traceparent: str | None
    ahead_ms: int | None

    @property
    def is_open(self) -> bool:
        """True when the text comes from a stream."""
        return self.text_from is not None


_is_name = re.compile(rb"[A-Za-z0-9_.-]{1,64}").fullmatch

_KNOWN = {name.encode(): name for name in JOB_FIELDS}


def parse_job(entry_id: str, fields: Sequence[bytes], max_text_chars: int = MAX_TEXT_CHARS) -> Job:
    """Read one entry of the job stream.

    entry_id: `<ms>-<seq>`. fields: flat, name, value, name, value...; unknown names are ignored. A repeated name of the
    contract is an error; the first `session_id` is the session that receives it. Raises JobError for the first problem
    in the order of JOB_FIELDS; repetition and the number of fields come after `v`.
    """
    given = _known_fields(fields)
    session_id = read_session_id(given)
    v = read_version(given)
    _refuse_ambiguity(fields)
    text = None if read_is_open(given) else read_text(given, max_text_chars)
    job_id = read_job_id(given, entry_id)
    voice = read_voice(given)
    language = read_language(given)
    sample_rate = read_sample_rate(given)
    encoding = read_encoding(given)
    ttl_ms = read_integer(given, "ttl_ms", 1, MAX_TTL_MS)
    seed = read_integer(given, "seed", 0, MAX_SEED)
    temperature, traceparent = read_temperature(given), read_traceparent(given)
    return Job(
        entry_id=entry_id,
        session_id=session_id,
        text=text,
        text_from="stream" if text is None else None,
        v=v,
        job_id=job_id,
        voice=voice,
        language=language,
        sample_rate=sample_rate,
        encoding=encoding,
        ttl_ms=DEFAULT_TTL_MS if ttl_ms is None else ttl_ms,
        seed=derived_seed(session_id, job_id) if seed is None else seed,
        temperature=temperature,
        traceparent=traceparent,
        ahead_ms=read_ahead_ms(given),
    )


def field_of(fields: Sequence[bytes], name: str) -> bytes | None:
    """The value of the first field of this name in a flat list, or None."""
    wanted = name.encode()
    for index in range(0, len(fields) - 1, 2):
        if fields[index] == wanted:
            return fields[index + 1]
    return None


def session_id_of(fields: Sequence[bytes]) -> str | None:
    """The session of an entry, or None where `session_id` is missing or invalid."""
    value = field_of(fields, "session_id")
    return value.decode("ascii") if value is not None and is_id(value) else None


def job_id_of(entry_id: str, fields: Sequence[bytes]) -> str:
    """The entry's `job_id` where it is valid, otherwise its entry id."""
    value = field_of(fields, "job_id")
    return value.decode("ascii") if value is not None and is_id(value) else entry_id


def derived_seed(session_id: str, job_id: str) -> int:
    """The seed of a job without one: 63 bits of SHA-256 over session and job, the same at every attempt."""
    digest = hashlib.sha256(f"{session_id} {job_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def job_fields(session_id: str, text: str | None = None, **options: object) -> dict[str, str]:
    """The flat fields to XADD for a job, checked by `parse_job`.

    text: None for an open text, whose job needs a job_id. options: other names of JOB_FIELDS. An option that is None
    is left out, so that the worker's default holds. Raises JobError, and TypeError for an unknown option.
    """
    unknown = options.keys() - set(JOB_FIELDS)
    if unknown:
        raise TypeError(f"unknown job field: {', '.join(sorted(unknown))}; use {', '.join(JOB_FIELDS)}")
    fields = {"session_id": session_id} | ({"text_from": "stream"} if text is None else {"text": text})
    fields |= {name: _written(value) for name, value in options.items() if value is not None}
    flat = [item.encode("utf-8", "surrogatepass") for pair in fields.items() for item in pair]
    parse_job("0-1", flat)
    return fields


def _written(value: object) -> str:
    if isinstance(value, float):  # the contract has no exponents
        return f"{Decimal(repr(float(value))):.{MAX_DECIMALS}f}".rstrip("0").rstrip(".")
    return str(value)


def _known_fields(fields: Sequence[bytes]) -> Fields:
    given: Fields = {}
    for index in range(0, len(fields) - 1, 2):
        name = _KNOWN.get(fields[index])
        if name is not None and name not in given:
            given[name] = fields[index + 1]
    return given


def _refuse_ambiguity(fields: Sequence[bytes]) -> None:
    """Raise JobError for a repeated field of the contract, and for more than MAX_FIELDS fields."""
    names = fields[: len(fields) - 1 : 2]
    if len(names) > MAX_FIELDS:
        unknown = next((name for name in names if name not in _KNOWN), b"")
        problem = f"the entry has more than {MAX_FIELDS} fields, and the contract {len(JOB_FIELDS)}"
        field = unknown.decode() if _is_name(unknown) else None
        raise JobError(ErrorCode.INVALID_FIELD, problem, field, "send only those")
    if len(set(names)) < len(names):
        for name in JOB_FIELDS:
            if names.count(name.encode()) > 1:
                raise JobError(ErrorCode.INVALID_FIELD, f"{name} is given more than once", name, "send it once")
