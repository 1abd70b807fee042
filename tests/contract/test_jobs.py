"""What a job may say, and what is answered to one that says something else."""

from __future__ import annotations

import pickle
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import (
    LANGUAGES,
    RETRYABLE,
    SAMPLE_RATES,
    Encoding,
    ErrorCode,
    Job,
    JobError,
    derived_seed,
    field_of,
    job_fields,
    job_id_of,
    parse_job,
    session_id_of,
)
from schemas.jobs import JOB_FIELDS, MAX_SEED

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
IDS = st.from_regex(r"[A-Za-z0-9._:-]{1,128}", fullmatch=True)


def flat(**fields: str | bytes) -> list[bytes]:
    given_fields: dict[str, str | bytes] = {"session_id": "s1", "text": "Hello."}
    pairs = (given_fields | fields).items()
    return [item.encode() if isinstance(item, str) else item for pair in pairs for item in pair]


def refused(fields: list[bytes], max_text_chars: int = 5_000) -> tuple[ErrorCode, str | None]:
    with pytest.raises(JobError) as caught:
        parse_job("1-0", fields, max_text_chars)
    assert caught.value.message == str(caught.value)
    return caught.value.code, caught.value.field


def test_a_session_and_a_text_are_a_complete_job() -> None:
    assert parse_job("17-3", flat()) == Job(
        entry_id="17-3",
        session_id="s1",
        text="Hello.",
        text_from=None,
        v=1,
        job_id="17-3",
        voice=None,
        language=None,
        sample_rate=24_000,
        encoding=Encoding.PCM_S16LE,
        ttl_ms=30_000,
        seed=derived_seed("s1", "17-3"),
        temperature=None,
        traceparent=None,
        ahead_ms=None,
    )


def test_every_field_can_be_chosen() -> None:
    job = parse_job(
        "17-3",
        flat(
            v="1", job_id="j.1", voice="まきま", language="jApAnEsE", sample_rate="44100", encoding="alaw", ttl_ms="1",
            seed=str(MAX_SEED), temperature="2.0", traceparent=TRACE,
        ),
    )  # fmt: skip
    assert (job.job_id, job.voice, job.language, job.sample_rate) == ("j.1", "まきま", "Japanese", 44_100)
    assert (job.encoding, job.ttl_ms, job.seed) == (Encoding.ALAW, 1, MAX_SEED)
    assert (job.temperature, job.traceparent) == (2.0, TRACE)


@pytest.mark.parametrize("language", LANGUAGES)
def test_languages_are_read_in_any_case(language: str) -> None:
    for written in (language, language.upper(), language.lower(), language.swapcase()):
        assert parse_job("1-0", flat(language=written)).language == language


@pytest.mark.parametrize("rate", SAMPLE_RATES)
def test_every_rate_is_read(rate: int) -> None:
    assert parse_job("1-0", flat(sample_rate=str(rate))).sample_rate == rate


@pytest.mark.parametrize(
    "session_id",
    ["", " ", "{s1}", "s 1", "s1\n", "s" * 129, "s" * 1_000, "é", b"\xff", b"s\0", "s/1", "*", b"s" * 10_000_000],
)
def test_a_session_that_could_not_be_a_key_is_refused(session_id: str | bytes) -> None:
    assert refused(flat(session_id=session_id)) == (ErrorCode.INVALID_FIELD, "session_id")
    assert session_id_of(flat(session_id=session_id)) is None


def test_a_missing_session_is_named_before_anything_else() -> None:
    assert refused([b"v", b"2", b"text", b""]) == (ErrorCode.INVALID_FIELD, "session_id")
    assert session_id_of([b"v", b"2"]) is None


@pytest.mark.parametrize("v", ["", "0", "2", "01", "+1", " 1", "1.0", "one", "1" * 10_000_000])
def test_another_version_is_refused_before_the_rest(v: str) -> None:
    assert refused(flat(v=v, text="")) == (ErrorCode.INVALID_VERSION, "v")


@pytest.mark.parametrize("text", ["", " ", "\n\t ", "\u3000"])
def test_a_text_of_nothing_but_spaces_is_empty(text: str) -> None:
    assert refused(flat(text=text)) == (ErrorCode.TEXT_EMPTY, "text")


@pytest.mark.parametrize("text", [":)", "…", "---", "🎉", "\u200b", "*waves*", "\x00"])
def test_a_text_with_nothing_to_speak_is_a_good_job(text: str) -> None:
    assert parse_job("1-0", flat(text=text)).text == text


def test_a_job_without_text_is_empty() -> None:
    assert refused([b"session_id", b"s1"]) == (ErrorCode.TEXT_EMPTY, "text")


def test_the_limit_of_the_text_counts_characters() -> None:
    for letter in ("a", "あ", "🎉"):
        assert parse_job("1-0", flat(text=letter * 5_000)).text == letter * 5_000
        assert refused(flat(text=letter * 5_001)) == (ErrorCode.TEXT_TOO_LONG, "text")
    assert parse_job("1-0", flat(text="abc"), max_text_chars=3).text == "abc"
    assert refused(flat(text="abcd"), max_text_chars=3) == (ErrorCode.TEXT_TOO_LONG, "text")


@pytest.mark.parametrize("name", [name for name in JOB_FIELDS if name not in {"session_id", "job_id"}])
def test_what_is_not_utf8_is_invalid_and_named(name: str) -> None:
    code = ErrorCode.INVALID_FIELD
    for value in (b"\xff", b"caf\xe9", b"\xed\xa0\x80", b"\xc0\x80"):
        assert refused(flat(**{name: value})) == (code, name)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("text", ErrorCode.TEXT_TOO_LONG),
        ("v", ErrorCode.INVALID_VERSION),
        ("sample_rate", ErrorCode.UNSUPPORTED_FORMAT),
        ("encoding", ErrorCode.UNSUPPORTED_FORMAT),
        *((name, ErrorCode.INVALID_FIELD) for name in ("job_id", "voice", "language", "ttl_ms", "seed", "temperature")),
        ("traceparent", ErrorCode.INVALID_FIELD),
    ],
)
@pytest.mark.parametrize("filling", [b"1", b"\xff", b" "])
def test_ten_megabytes_are_refused_by_length_and_quickly(name: str, code: ErrorCode, filling: bytes) -> None:
    fields = flat(**{name: filling * 10_000_000})
    with pytest.raises(JobError) as caught:
        parse_job("1-0", fields)
    assert (caught.value.code, caught.value.field) == (code, name)
    assert len(caught.value.message) < 300
    started = time.process_time()
    for _ in range(100):
        with pytest.raises(JobError):
            parse_job("1-0", fields)
    assert time.process_time() - started < 0.5


@pytest.mark.parametrize("rate", ["", "11025", "24000.0", "+24000", " 24000", "24_000", "024000", "２４０００", "x"])
def test_another_rate_is_an_unsupported_format(rate: str) -> None:
    assert refused(flat(sample_rate=rate)) == (ErrorCode.UNSUPPORTED_FORMAT, "sample_rate")


@pytest.mark.parametrize("encoding", ["", "mp3", "PCM_S16LE", "pcm_s16le ", "pcm16", "PCM16"])
def test_another_encoding_is_an_unsupported_format(encoding: str) -> None:
    assert refused(flat(encoding=encoding)) == (ErrorCode.UNSUPPORTED_FORMAT, "encoding")


def test_the_websockets_word_is_answered_with_the_right_one() -> None:
    with pytest.raises(JobError, match="use pcm_s16le"):
        parse_job("1-0", flat(encoding="pcm16"))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("ttl_ms", ["", "0", "300001", "-1", "+1", " 1", "1 ", "1_0", "1.0", "1e3", "٣", "01", "9" * 400]),
        ("seed", ["", "-1", str(2**63), str(2**64), "0x1", "1_000", "½"]),
        ("temperature", ["", "-0.1", "2.01", "nan", "inf", "1e0", ".5", "1.", "+1", "1,5", "0_1", "1" * 33]),
        ("language", ["", "Klingon", "en", "English ", "ſpanish", "\u212aorean"]),
        ("job_id", ["", "a b", "{x}", "j" * 129]),
        ("voice", ["", "a\nb", "v" * 129, "\u202e"]),
        (
            "traceparent",
            [
                "", "x", TRACE.upper(), TRACE + "-x", "ff" + TRACE[2:], TRACE[:3] + "0" * 32 + TRACE[35:],
                TRACE[:36] + "0" * 16 + TRACE[52:],
            ],
        ),
    ],
)  # fmt: skip
def test_a_value_out_of_its_range_is_invalid_and_named(name: str, values: list[str]) -> None:
    for value in values:
        assert refused(flat(**{name: value})) == (ErrorCode.INVALID_FIELD, name), value


def test_the_ends_of_every_range_are_good() -> None:
    for name, values in {"ttl_ms": (1, 300_000), "seed": (0, MAX_SEED), "temperature": (0, 2, 0.0, 2.0)}.items():
        for value in values:
            assert getattr(parse_job("1-0", flat(**{name: str(value)})), name) == value


def test_unknown_fields_are_ignored_even_repeated_ones() -> None:
    many = [item for n in range(60) for item in (b"field %d" % (n // 2), b"\xff" * 100)]
    assert parse_job("1-0", many + flat()) == parse_job("1-0", flat())


def test_an_entry_of_far_too_many_fields_is_refused_naming_the_first_that_is_unknown() -> None:
    many = [item for n in range(5_000) for item in (b"field-%d" % n, b"x")]
    with pytest.raises(JobError, match="more than 64 fields") as refusal:
        parse_job("1-0", flat() + many)
    assert (refusal.value.code, refusal.value.field) == ("invalid_field", "field-0")


@pytest.mark.parametrize("name", JOB_FIELDS)
def test_a_field_given_twice_is_refused_and_its_first_value_says_who_hears_of_it(name: str) -> None:
    fields = [*flat(), name.encode(), b"1", name.encode(), b"1"]
    with pytest.raises(JobError) as refusal:
        parse_job("1-0", fields)
    assert refusal.value.field == name
    assert session_id_of(fields) == "s1"
    assert field_of([b"seed", b"7", b"seed", b"8"], "seed") == b"7"


def test_a_bad_job_is_known_by_its_usable_id() -> None:
    assert job_id_of("5-1", flat(job_id="mine", text="")) == "mine"
    assert job_id_of("5-1", flat(job_id="not mine", text="")) == "5-1"
    assert job_id_of("5-1", []) == "5-1"


def test_messages_show_a_bad_value_but_never_the_text() -> None:
    with pytest.raises(JobError, match="'mp3'"):
        parse_job("1-0", flat(encoding="mp3"))
    with pytest.raises(JobError) as caught:
        parse_job("1-0", flat(text="secret" * 5_000))
    assert "secret" not in caught.value.message


@given(st.lists(st.binary(max_size=40)), st.integers(1, 50))
def test_any_bytes_are_a_job_or_a_job_error(fields: list[bytes], max_text_chars: int) -> None:
    _survives(fields, max_text_chars)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([name.encode() for name in JOB_FIELDS]),
            st.one_of(
                st.binary(max_size=60),
                st.text(max_size=60).map(str.encode),
                st.sampled_from([b"s1", b"1", b"0.5", b"24000", b"mulaw", b"auto", TRACE.encode()]),
                st.integers(-(2**70), 2**70).map(lambda number: b"%d" % number),
            ),
        )
    )
)
def test_any_values_of_known_fields_are_a_job_or_a_job_error(pairs: list[tuple[bytes, bytes]]) -> None:
    fields = [item for pair in [(b"session_id", b"s1"), (b"text", b"Hi."), *pairs] for item in pair]
    _survives(fields, 5_000)
    _survives(fields[4:], 5_000)


def _survives(fields: list[bytes], max_text_chars: int) -> None:
    job_id_of("1-0", fields).encode("ascii")
    result: Job | JobError
    try:
        result = parse_job("1-0", fields, max_text_chars)
    except JobError as problem:
        result = problem
    if isinstance(result, JobError):
        assert result.field in JOB_FIELDS
        assert result.message.encode()
    else:
        assert result.session_id == session_id_of(fields)
        assert result.is_open or 0 < len((result.text or "").strip()) <= max_text_chars
        assert 0 <= result.seed <= MAX_SEED


@given(IDS, IDS)
def test_the_derived_seed_is_the_same_for_every_attempt(session_id: str, job_id: str) -> None:
    fields = flat(session_id=session_id, job_id=job_id)
    first, second = parse_job("1-0", fields), parse_job("2-0", fields)
    assert first.seed == second.seed == derived_seed(session_id, job_id)
    assert 0 <= first.seed <= MAX_SEED


@given(
    session_id=IDS,
    text=st.text(min_size=1, max_size=200).filter(str.strip),
    options=st.fixed_dictionaries(
        {},
        optional={
            "job_id": IDS,
            "language": st.sampled_from(LANGUAGES),
            "sample_rate": st.sampled_from(SAMPLE_RATES),
            "encoding": st.sampled_from(Encoding),
            "ttl_ms": st.integers(1, 300_000),
            "seed": st.integers(0, MAX_SEED),
            "temperature": st.floats(0, 2) | st.none(),
        },
    ),
)
def test_what_a_publisher_writes_is_what_a_worker_reads(session_id: str, text: str, options: dict[str, object]) -> None:
    fields = job_fields(session_id, text, **options)
    job = parse_job("1-0", [item.encode() for pair in fields.items() for item in pair])
    assert (job.session_id, job.text) == (session_id, text)
    for name, value in options.items():
        if isinstance(value, float):
            assert getattr(job, name) == pytest.approx(value, abs=1e-14)
        else:
            assert getattr(job, name) == value


def test_a_publisher_is_told_what_is_wrong_before_publishing() -> None:
    with pytest.raises(JobError, match="temperature"):
        job_fields("s1", "Hi.", temperature=float("nan"))
    with pytest.raises(JobError, match="UTF-8"):
        job_fields("s1", "\ud800")
    with pytest.raises(TypeError, match="mood"):
        job_fields("s1", "Hi.", mood="calm")


def test_defaults_are_left_to_the_worker() -> None:
    assert job_fields("s1", "Hi.", voice=None, seed=None) == {"session_id": "s1", "text": "Hi."}


def test_a_job_error_keeps_its_parts_between_processes() -> None:
    copy = pickle.loads(pickle.dumps(JobError(ErrorCode.INVALID_FIELD, "no", "v")))
    assert (copy.code, copy.message, copy.field) == (ErrorCode.INVALID_FIELD, "no", "v")


def test_faults_of_the_job_are_not_worth_a_retry() -> None:
    faults = {code for code in ErrorCode if not code.retryable}
    assert faults == set(ErrorCode) - RETRYABLE
    assert {ErrorCode.TEXT_EMPTY, ErrorCode.INVALID_FIELD, ErrorCode.UNKNOWN_VOICE} <= faults
    assert ErrorCode.WORKER_LOST.retryable
