"""The speak job's fields. An input is the flat list of names and values, as CLAIM gives it to a worker."""

from __future__ import annotations

from pathlib import Path
from random import Random

from schemas import Error, JobError, field_of, job_fields, job_id_of, parse_job, session_id_of
from schemas.golden import JOBS
from schemas.jobs import JOB_FIELDS
from schemas.wire import pack, unpack
from tests.fuzz import odd, oracle
from tests.fuzz.mutate import mutate, rearranged, replaced, several
from tests.fuzz.target import Broken, Target, packed, require, unpacked

ENTRY_ID = "1760000000000-0"
Words = list[bytes]
VALID: dict[str, tuple[bytes, ...]] = {
    "session_id": (b"s1", b"a" * 128, b"A.b_c:d-9"),
    "text": (b"Hi.", "日本語。".encode(), b"a" * 5000, "🎉 a".encode(), b"\0a"),
    "v": (b"1",),
    "job_id": (b"j", b"0" * 128, b"-"),
    "voice": (b"makima", "声 a".encode(), b"x" * 128),
    "language": (b"english", b"AUTO", b"Russian"),
    "sample_rate": tuple(rate.encode() for rate in oracle.RATES),
    "encoding": tuple(encoding.encode() for encoding in oracle.ENCODINGS),
    "ttl_ms": (b"1", b"300000", b"29999"),
    "seed": (b"0", b"9223372036854775807", b"42"),
    "temperature": (b"0", b"2", b"2.0", b"0.33333333333333333333", b"0.00000000000000012345"),
    "traceparent": (
        b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        b"cc-" + b"1" * 32 + b"-" + b"2" * 16 + b"-00",
    ),
}


def seeds() -> list[bytes]:
    everything = [word for name, values in VALID.items() for word in (name.encode(), values[0])]
    golden = [[word for name, value in job for word in (name.encode(), value)] for job in JOBS.values()]
    return [packed(everything)] * len(golden) + [packed(job) for job in golden]


def change(draw: Random, data: bytes, other: bytes) -> bytes:
    words = several(draw, unpacked(data), CHANGES)
    return packed(words + unpacked(other) if draw.random() < 0.05 else words)


def _a_valid_value(draw: Random, words: Words) -> Words:
    name = draw.choice(JOB_FIELDS)
    return _with(words, name, draw.choice(VALID[name]))


def _an_odd_value(draw: Random, words: Words) -> Words:
    value = draw.choice(odd.NUMERALS).encode() if draw.random() < 0.5 else odd.bytes_of_some_kind(draw)
    return _with(words, draw.choice(JOB_FIELDS), value)


def _a_value(draw: Random, words: Words) -> Words:
    if len(words) < 2:
        return [b"session_id", b"s", *words]
    at = draw.randrange(len(words) // 2) * 2 + 1
    return replaced(words, at, mutate(draw, words[at], draw.choice(words)))


def _a_name(draw: Random, words: Words) -> Words:
    name = draw.choice(JOB_FIELDS)
    names = name.encode(), name.upper().encode(), odd.bytes_of_some_kind(draw)
    return replaced(words, draw.randrange(len(words) // 2 + 1) * 2, draw.choice(names))


def _fields(draw: Random, words: Words) -> Words:
    """Fields left out, repeated or moved; at times one without a value at the end."""
    pairs = rearranged(draw, [words[at : at + 2] for at in range(0, len(words), 2)])
    flat = [word for pair in pairs for word in pair]
    return flat[:-1] if draw.random() < 0.2 else flat


def _many(draw: Random, words: Words) -> Words:
    noise = [
        word
        for n in range(draw.choice((50, 62, 64, 3000)))
        for word in (b"%s%d" % (odd.string(draw).encode(), n), b"x")
    ]
    return draw.choice((noise + words, words + noise, words * 3))


def _with(words: Words, name: str, value: bytes) -> Words:
    """The same with another value of a field, or with one field more."""
    for at in range(0, len(words) - 1, 2):
        if words[at] == name.encode():
            return replaced(words, at + 1, value)
    return [*words, name.encode(), value]


CHANGES = (_a_valid_value, _a_valid_value, _a_valid_value, _a_value, _a_value, _an_odd_value, _a_name, _fields, _many)


def parse(data: bytes, folder: Path) -> bool:
    flat: Words = unpacked(data)
    expected = oracle.meaning(ENTRY_ID, flat)
    try:
        job = parse_job(ENTRY_ID, flat)
    except JobError as error:
        require(expected is None, f"refused a valid job: {error.message:.100}")
        _check_answer(flat, error)
        raise
    if expected is None:
        raise Broken("accepted what the contract refuses")
    read = {name: getattr(job, name) for name in JOB_FIELDS}
    require(read == expected, f"read something else than the contract: {read!r:.300}")
    require((session_id_of(flat), job_id_of(ENTRY_ID, flat)) == (job.session_id, job.job_id), "two session or job ids")
    require(field_of(flat, "text") == job.text.encode(), "field_of gives another text")
    again = job_fields(**{name: value for name, value in read.items() if value is not None})
    written = [word.encode() for pair in again.items() for word in pair]
    require(parse_job(ENTRY_ID, written) == job, "published again it is another job")
    return True


def _check_answer(flat: Words, error: JobError) -> None:
    """Its session must be told, whatever was wrong with it."""
    session_id = session_id_of(flat)
    if session_id is not None:
        answer = Error(
            job_id=job_id_of(ENTRY_ID, flat),
            session_id=session_id,
            code=error.code,
            message=error.message,
            field=error.field,
            retryable=error.code.retryable,
        )
        require(unpack(pack(answer)) == answer, "the answer to its session is another one once written and read")


JOB = Target(
    place="tests.fuzz.targets.job:JOB",
    seeds=seeds,
    mutate=change,
    parse=parse,
    declared=(JobError,),
    weight=20,
    modules=("schemas.jobs",),
)
