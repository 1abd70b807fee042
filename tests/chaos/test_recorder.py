"""The recorder reads every entry once and in order, whatever happens to Redis."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from tests.chaos.recorder import BATCH_KEYS, Recorder
from tests.processes import until
from tests.stream.servers import HOST, cluster, needs_cli
from worker.embedded import Embedded, embedded_valkey
from worker.stream.keys import Keys

N_SESSIONS = 2 * BATCH_KEYS + 7


@pytest.fixture
def server() -> Iterator[Embedded]:
    with embedded_valkey(aof=True) as one:
        yield one


@pytest.fixture
def client(server: Embedded) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url, protocol=2, retry=Retry(ConstantBackoff(0.02), 100)) as one:
        yield one


def _write(client: redis.Redis | redis.RedisCluster, session_id: str, n: int) -> None:
    client.xadd(Keys().audio(session_id), {"type": "audio", "n": str(n)})


def _numbers(recorder: Recorder, session_id: str) -> list[int]:
    return [int(fields[b"n"]) for _, fields, _ in recorder.heard[session_id]]


def test_every_session_is_heard_from_its_first_entry_with_the_time_of_each(client: redis.Redis) -> None:
    sessions = [f"s{n}" for n in range(N_SESSIONS)]
    _write(client, "s0", 0)
    with Recorder(client) as recorder:
        for session_id in sessions:
            recorder.add(session_id)
        assert until(lambda: _numbers(recorder, "s0") == [0])
        for n in range(1, 4):
            before_s = time.monotonic()
            for session_id in sessions:
                _write(client, session_id, n)
            assert until(lambda n=n: all(_numbers(recorder, one)[-1:] == [n] for one in sessions))  # type: ignore[misc]
            assert all(before_s < recorder.heard[one][-1][2] < time.monotonic() for one in sessions)
        recorder.add("s0")
    assert _numbers(recorder, "s0") == [0, 1, 2, 3]
    assert all(_numbers(recorder, one) == [1, 2, 3] for one in sessions[1:])


def test_nothing_is_missed_or_heard_twice_over_restarts_and_cut_connections(
    client: redis.Redis, server: Embedded
) -> None:
    with redis.Redis.from_url(server.url, protocol=2) as impatient, Recorder(impatient) as recorder:
        recorder.add("s")
        for n in range(30):
            _write(client, "s", n)
            if n % 10 == 9:
                server.restart(hard=n == 19)
            elif n % 5 == 4:
                client.client_kill_filter(_type="normal", skipme=True)
            time.sleep(0.005)
        assert until(lambda: len(recorder.heard["s"]) >= 30)
    assert _numbers(recorder, "s") == list(range(30))


@needs_cli
def test_a_cluster_is_heard_too_over_the_restart_of_a_node(tmp_path: Path) -> None:
    with cluster(tmp_path, "--appendonly", "yes") as nodes:
        client = redis.RedisCluster(host=HOST, port=nodes[0].port, protocol=2)
        sessions = [f"s{n}" for n in range(20)]
        with client, Recorder(client) as recorder:
            for session_id in sessions:
                recorder.add(session_id)
                _write(client, session_id, 0)
            assert until(lambda: all(recorder.heard.values()))
            nodes[1].restart()
            for session_id in sessions:
                assert until(lambda one=session_id: _is_written(client, one))  # type: ignore[misc]
            assert until(lambda: all(_numbers(recorder, one)[-1] == 1 for one in sessions), 10)
        assert all(_numbers(recorder, one)[0] == 0 for one in sessions)


def test_what_is_no_passing_failure_is_raised_at_the_end(client: redis.Redis) -> None:
    client.set(Keys().audio("s"), "not a stream")
    recorder = Recorder(client)
    recorder.add("s")
    recorder.__enter__()
    assert until(lambda: not recorder.is_running)
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        recorder.__exit__()


def _is_written(client: redis.RedisCluster, session_id: str) -> bool:
    try:
        _write(client, session_id, 1)
    except redis.RedisError:
        return False
    return True


def test_a_stream_that_is_replaced_is_not_listened_to_until_it_is_one_again(client: redis.Redis) -> None:
    with Recorder(client) as recorder:
        for session_id in ("s0", "s1"):
            recorder.add(session_id)
            client.xadd(Keys().audio(session_id), {"type": "audio", "n": "1"}, id="9-0")
        assert until(lambda: _numbers(recorder, "s0") == _numbers(recorder, "s1") == [1])
        client.set(Keys().audio("s0"), "odd")  # before it is skipped: nothing ends by that
        time.sleep(0.05)
        recorder.skip("s0")
        _write(client, "s1", 2)
        assert until(lambda: _numbers(recorder, "s1") == [1, 2])
        client.delete(Keys().audio("s0"))
        client.xadd(Keys().audio("s0"), {"type": "audio", "n": "2"}, id="5-0")
        recorder.begin_again("s0")
        assert until(lambda: _numbers(recorder, "s0") == [1, 2])
        assert recorder.is_running
