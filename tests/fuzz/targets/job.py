"""The speak job's fields. An input is the flat list of names and values, as CLAIM gives it to a worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from schemas import Error, JobError, field_of, job_fields, job_id_of, parse_job, session_id_of
from schemas.golden import JOBS
from schemas.jobs import JOB_FIELDS
from schemas.wire import pack, unpack
from tests.fuzz import oracle
from tests.fuzz.strategies import blobs, edits, mostly, seldom
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
    "text_from": (b"stream",),
    "ahead_ms": (b"0", b"3000", b"600000"),
}


def seeds() -> list[bytes]:
    everything = [word for name, values in VALID.items() if name != "text_from" for word in (name.encode(), values[0])]
    golden = [[word for name, value in job for word in (name.encode(), value)] for job in JOBS.values()]
    return [packed(everything), *map(packed, golden)]


valid_fields = st.sampled_from([(name, value) for name, values in VALID.items() for value in values])
edited_fields = st.builds(lambda field, edit: (field[0], edit(field[1])), valid_fields, edits)
odd_fields = st.tuples(st.sampled_from(JOB_FIELDS), blobs)
odd_names = st.tuples(st.sampled_from([name.upper().encode() for name in JOB_FIELDS]) | blobs, blobs)
required = st.sampled_from((("session_id", "text"), ("session_id", "text_from", "job_id"))).flatmap(
    lambda names: st.tuples(*(st.tuples(st.just(name), st.sampled_from(VALID[name])) for name in names)).map(list)
)
too_many = st.sampled_from((50, 57, 62, 64, 3000)).map(lambda n: [(b"n%d" % number, b"x") for number in range(n)])


def inputs() -> st.SearchStrategy[bytes]:
    """Mostly fields of the contract with valid and nearly valid values; at times twice, in another order, too many."""
    return st.builds(
        _written,
        required,
        st.lists(valid_fields, max_size=6),
        st.lists(edited_fields | odd_fields | odd_names, max_size=2),
        mostly(st.just([]), too_many),
        seldom,
        st.integers(-40, 4),
        seldom,
    )


def _written(
    named: list[Any], valid: list[Any], odd: list[Any], more: list[Any], has_twice: bool, turn: int, is_cut: bool
) -> bytes:
    fields = [*named, *valid, *odd, *more]
    if not has_twice:
        fields = list(dict(fields).items())
    fields = fields[max(turn, 0) :] + (fields[:turn] if turn > 1 else [])
    words = [word.encode() if isinstance(word, str) else word for field in fields for word in field]
    return packed(words[:-1] if is_cut else words)


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
    require(field_of(flat, "text") == (job.text and job.text.encode()), "field_of gives another text")
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


JOB = Target("job", parse, seeds, inputs, (JobError,), weight=20)
