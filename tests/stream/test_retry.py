"""Passing errors are retried with back-off; others are raised at once."""

from __future__ import annotations

import asyncio
import logging

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import (
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    NoScriptError,
    ReadOnlyError,
    TryAgainError,
)

from worker.stream.transport import retry as module
from worker.stream.transport.retry import RetryPolicy, UnwillingError, backoff_s, is_no_group


class Flaky:
    """Fails with these errors in turn, then answers."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.n_calls = 0

    async def __call__(self) -> str:
        self.n_calls += 1
        if self._errors:
            raise self._errors.pop(0)
        return "answer"


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "backoff_s", lambda failures: 0.0)


@pytest.mark.parametrize(
    "error",
    [
        redis.ConnectionError("closed"),
        redis.TimeoutError("no answer"),
        redis.AuthenticationError("no password yet"),
        redis.OutOfMemoryError("maxmemory"),
        BusyLoadingError("loading"),
        ReadOnlyError("a replica"),
        ClusterDownError("down"),
        MasterDownError("link down"),
        TryAgainError("moving"),
        UnwillingError("MISCONF disk full"),
        OSError("no route"),
        TimeoutError(),
        NoPermissionError("a right was taken away"),
        MovedError("1 a:1"),
    ],
)
async def test_what_passes_is_waited_out(error: Exception) -> None:
    call = Flaky(error, error, error)
    assert await RetryPolicy("job")(call) == "answer"
    assert call.n_calls == 4


@pytest.mark.parametrize(
    "error",
    [
        redis.ResponseError("WRONGTYPE"),
        redis.ResponseError("NOGROUP no such group"),
        NoScriptError("none"),
        ValueError("ours"),
    ],
)
async def test_what_does_not_pass_is_raised_at_once(error: Exception) -> None:
    call = Flaky(error)
    with pytest.raises(type(error)):
        await RetryPolicy("job")(call)
    assert call.n_calls == 1


async def test_a_right_that_was_never_given_is_not_waited_for() -> None:
    retry = RetryPolicy("job", wants_rights=True)
    with pytest.raises(NoPermissionError):
        await retry(Flaky(NoPermissionError("no")))
    assert await retry(Flaky()) == "answer"
    assert await retry(Flaky(NoPermissionError("taken away since"))) == "answer"


async def test_waiting_can_be_cancelled() -> None:
    async def never() -> None:
        raise redis.ConnectionError("closed")

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await RetryPolicy("job")(never)


async def test_failures_are_counted_and_seen_until_an_answer_comes() -> None:
    failures: list[None] = []
    retry = RetryPolicy("job", lambda: failures.append(None))
    inner = Flaky(redis.ConnectionError("closed"), redis.TimeoutError("late"))
    seen: list[tuple[float | None, str]] = []

    async def call() -> str:
        seen.append((retry.failing_since, retry.last_error))
        return await inner()

    await retry(call)
    assert len(failures) == 2
    assert seen[0] == (None, "")
    assert seen[1][0] == seen[2][0] is not None
    assert seen[2][1] == "TimeoutError: late"
    assert retry.failing_since is None


async def test_an_outage_is_logged_once_and_its_end_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    retry = RetryPolicy("session")
    await asyncio.gather(*[retry(Flaky(*[redis.ConnectionError("closed")] * 5)) for _ in range(10)])
    assert len([one for one in caplog.records if one.levelno == logging.WARNING]) == 1
    assert "session Redis serves again" in caplog.text
    assert caplog.text.count("serves again") == 1


@given(st.integers(0, 10_000), st.floats(0.05, 60))
def test_the_wait_grows_and_stays_within_its_bounds(failures: int, cap_s: float) -> None:
    assert 0.025 <= backoff_s(failures, cap_s) <= cap_s
    assert backoff_s(10) >= 0.5


def test_a_lost_group_is_known_by_what_the_server_says() -> None:
    script = "NOGROUP No such key 'x' or consumer group 'workers' script: 0123, on @user_script:1."
    assert is_no_group(redis.ResponseError(script))
    assert not is_no_group(redis.ResponseError("WRONGTYPE Operation against a key"))


async def test_an_outage_is_remembered_for_as_long_as_others_may_need_to_find_redis_again() -> None:
    retry = RetryPolicy("job")
    assert retry.has_answered_for_s(1000)
    await retry(Flaky(redis.ConnectionError("away")))
    assert retry.has_answered_for_s(0)
    assert not retry.has_answered_for_s(10)
    retry._recovered_at -= 10
    assert retry.has_answered_for_s(10)


async def test_a_call_that_waits_shows_while_others_are_served() -> None:
    """A Redis out of memory rejects writes, which counts the same."""
    retry = RetryPolicy("session")
    room = asyncio.Event()

    async def writes() -> str:
        if not room.is_set():
            raise redis.OutOfMemoryError("maxmemory")
        return "written"

    writing = asyncio.create_task(retry(writes))
    await asyncio.sleep(0)
    for _ in range(3):
        await retry(Flaky())
    assert retry.failing_since is not None
    assert "maxmemory" in retry.last_error
    assert not retry.has_answered_for_s(0)
    room.set()
    assert await writing == "written"
    assert retry.failing_since is None


async def test_a_call_given_up_waits_no_more() -> None:
    retry = RetryPolicy("session")
    waiting = asyncio.create_task(retry(Flaky(*[redis.ConnectionError("away")] * 10_000)))
    await asyncio.sleep(0)
    assert retry.failing_since is not None
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert retry.failing_since is None
