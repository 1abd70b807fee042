"""The contract of makima-tts: jobs in, messages out, and nothing about Redis, audio or models.

`parse_job` reads what a client published, `job_fields` writes it; `stream_fields` and `read_entry` do the same for
what a session is told, `pack` and `unpack` for its msgpack body. `schemas.export` writes the JSON Schemas, the
AsyncAPI document and the golden vectors. EVOLUTION.md says how all this may change, vectors/README.md how to read it
from another language.
"""

from schemas.errors import RETRYABLE, ErrorCode, JobError, MakimaError, WireError
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
from schemas.messages import TERMINAL_TYPES, Audio, Begin, Cancelled, Complete, Error, Message
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
    "Job",
    "JobError",
    "MakimaError",
    "Message",
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
]
