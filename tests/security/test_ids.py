"""Session and job IDs cannot name the key of another: in Python, in Lua, and by the ACL rules."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.crc import key_slot

from schemas import ErrorCode, JobError, job_fields, job_id_of, parse_job, session_id_of
from tests.security.deployed import Deployed
from tests.security.nasty import NASTY, ODD
from tests.stream.servers import needs_redis
from worker.embedded import embedded_valkey
from worker.stream.keys import Keys
from worker.stream.scripts import CLAIM

KEYS = Keys()
USABLE = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
JOB_PLANE = {*KEYS.job_plane, KEYS.seen_prefix}
NEAR = st.text("s1{}/\\.:- \n\x00%speakѕ１", max_size=12).map(str.encode)  # what is nearly an id, and braces in it
IDS = st.one_of(st.sampled_from(NASTY), st.sampled_from([odd.encode() for odd in ODD]), NEAR, st.binary(max_size=140))
GOOD = st.one_of(st.sampled_from(ODD), st.from_regex(USABLE.pattern.decode(), fullmatch=True))


def keys_of(session_id: str) -> set[str]:
    return {KEYS.audio(session_id), KEYS.cut(session_id), KEYS.job(session_id, "1700000000000-0")}


@given(IDS)
def test_an_id_is_usable_when_all_of_it_is_of_the_alphabet_and_else_refused(value: bytes) -> None:
    fields = [b"session_id", value, b"text", b"Hello.", b"job_id", value]
    if USABLE.fullmatch(value):
        assert session_id_of(fields) == job_id_of("1-1", fields) == value.decode()
        return
    assert session_id_of(fields) is None
    assert job_id_of("1-1", fields) == "1-1"
    with pytest.raises(JobError) as refused:
        parse_job("1-1", fields)
    assert (refused.value.code, refused.value.field) == (ErrorCode.INVALID_FIELD, "session_id")


@pytest.mark.parametrize("value", [value for value in NASTY if b"\xff" not in value])
def test_a_publisher_is_refused_before_anything_is_sent(value: bytes) -> None:
    with pytest.raises(JobError):
        job_fields(value.decode("utf-8", "surrogateescape"), "Hello.")
    with pytest.raises(JobError):
        job_fields("s1", "Hello.", job_id=value.decode("utf-8", "surrogateescape"))


@given(GOOD, GOOD)
def test_no_two_sessions_share_a_key_and_none_has_one_of_the_job_plane(one: str, other: str) -> None:
    for key in keys_of(one):
        assert key.count("{") == key.count("}") == 1
        assert key.startswith(f"makima:{{{one}}}:")
        assert key not in JOB_PLANE
        assert not key.startswith(KEYS.seen_prefix)
        assert key_slot(key.encode()) == key_slot(one.encode())  # a session stays on one server of a Cluster
    if one != other:
        assert not keys_of(one) & keys_of(other)


@pytest.fixture(scope="module")
def lua() -> Iterator[redis.Redis]:
    with embedded_valkey() as server, redis.Redis.from_url(server.url, protocol=2) as client:
        yield client


PRELUDE = CLAIM.source.partition("-- CLAIM:")[0]


@given(st.lists(IDS, min_size=50, max_size=50))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_scripts_take_the_same_ids_for_usable_as_the_worker_does(lua: redis.Redis, values: list[bytes]) -> None:
    script = (
        f"{PRELUDE} local all = {{}} for i = 1, #ARGV do all[i] = session_of({{'session_id', ARGV[i]}}) end return all"
    )
    answered = lua.eval(script, len(KEYS.job_plane), *KEYS.job_plane, *values)
    assert answered == [value if USABLE.fullmatch(value) else b"" for value in values]


@needs_redis
@given(GOOD)
@settings(max_examples=60, deadline=None)
def test_the_users_rules_fit_every_id(plain_server: Deployed, session_id: str) -> None:
    audio, cut, job = KEYS.audio(session_id), KEYS.cut(session_id), KEYS.job(session_id, "1-1")
    with plain_server.access.client("test") as anybody:
        assert anybody.acl_dryrun("relay", "XREAD", "STREAMS", audio, "0") == "OK"
        assert anybody.acl_dryrun("relay", "XADD", cut, "*", "type", "cancel") == "OK"
        assert anybody.acl_dryrun("worker", "EVALSHA", "x", "3", audio, cut, job) == "OK"
        for user, words in (("producer", ("XADD", audio, "*", "a", "b")), ("worker", ("XDEL", audio, "1-1"))):
            assert "no permissions" in str(anybody.acl_dryrun(user, *words))
