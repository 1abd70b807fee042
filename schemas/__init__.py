"""The contract of makima-tts: jobs in, messages out. It knows nothing of Redis, audio or models.

`job_fields` writes a job and `parse_job` reads it. `stream_fields` and `read_entry` do the same for an entry of a
session's stream, `pack` and `unpack` for its msgpack body. `schemas.export` writes the JSON Schemas, the AsyncAPI
document and the golden vectors. EVOLUTION.md lists which changes are compatible, vectors/README.md is for readers in
other languages.
"""

from schemas.errors import RETRYABLE, ErrorCode, JobError, MakimaError, WireError
from schemas.heard import Heard, what_was_heard
from schemas.jobs import (
    LANGUAGES,
    SAMPLE_RATES,
    Encoding,
    Job,
    derived_seed,
    field_of,
    job_fields,
    job_id_of,
    parse_job,
    session_id_of,
)
from schemas.messages import TERMINAL_TYPES, Audio, Begin, Cancelled, Complete, Error, Message, SegmentStart
from schemas.wire import Entry, pack, pack_codes, read_entry, stream_fields, unpack, unpack_codes

__all__ = [
    "LANGUAGES",
    "RETRYABLE",
    "SAMPLE_RATES",
    "TERMINAL_TYPES",
    "Audio",
    "Begin",
    "Cancelled",
    "Complete",
    "Encoding",
    "Entry",
    "Error",
    "ErrorCode",
    "Heard",
    "Job",
    "JobError",
    "MakimaError",
    "Message",
    "SegmentStart",
    "WireError",
    "derived_seed",
    "field_of",
    "job_fields",
    "job_id_of",
    "pack",
    "pack_codes",
    "parse_job",
    "read_entry",
    "session_id_of",
    "stream_fields",
    "unpack",
    "unpack_codes",
    "what_was_heard",
]
