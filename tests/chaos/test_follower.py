"""A relay with hints receives every entry, whether or not its hint arrived."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.chaos import follower
from tests.chaos.follower import Follower
from tests.chaos.patience import PatientCluster, PatientRedis
from tests.conftest import Server
from tests.processes import until
from tests.stream.servers import HOST, cluster, needs_cli
from worker.stream.keys import Keys

KEYS = Keys()
SESSIONS = ("a", "b", "c")


@pytest.fixture
def valkey_server(servers: dict[str, Server]) -> Server:
    """One server will do."""
    return servers["valkey"]


@pytest.fixture
def relay(valkey: redis.Redis, valkey_server: Server) -> Iterator[Follower]:
    with Follower(PatientRedis.from_url(valkey_server.url, protocol=2)) as one:
        for session_id in SESSIONS:
            one.follow(session_id)
        assert until(lambda: one.n_subscribed == len(SESSIONS))
        yield one


def _write(client: Any, session_id: str, command: str = "PUBLISH") -> None:
    key = KEYS.audio(session_id)
    entry_id = client.xadd(key, {"type": "news"})
    client.expire(key, 60)
    if command:
        client.execute_command(command, key, entry_id)


def _all_came(client: Any, relay: Follower) -> bool:
    return all(relay.heard.get(one, []) == client.xrange(KEYS.audio(one)) for one in SESSIONS)


def test_what_a_hint_names_is_read_at_once(
    relay: Follower, valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "LOOK_S", 1000.0)
    for session_id in (*SESSIONS, *SESSIONS):
        _write(valkey, session_id)
    assert until(lambda: _all_came(valkey, relay))
    assert relay.counts["entries_by_hint"] > 0


def test_what_no_hint_names_is_read_at_the_next_look(
    relay: Follower, valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "LOOK_S", 0.05)
    _write(valkey, "b", command="")
    assert until(lambda: _all_came(valkey, relay))
    assert relay.counts["entries_by_look"] == 1


def test_hints_go_on_after_the_connection_was_lost(relay: Follower, valkey: redis.Redis) -> None:
    def is_hinted() -> bool:
        _write(valkey, "a")
        return relay.counts["entries_by_hint"] > 0

    valkey.client_kill_filter(_type="pubsub")
    assert until(is_hinted)
    assert until(lambda: _all_came(valkey, relay))


@needs_cli
def test_on_a_cluster_each_session_is_followed_in_its_slot(tmp_path: Path) -> None:
    with cluster(tmp_path) as nodes:
        client = PatientCluster(host=HOST, port=nodes[0].port, protocol=2)
        with client, Follower(PatientCluster(host=HOST, port=nodes[0].port, protocol=2)) as relay:
            for session_id in SESSIONS:
                relay.follow(session_id)
            assert until(lambda: relay.n_subscribed == len(SESSIONS))
            for session_id in SESSIONS:
                _write(client, session_id, "SPUBLISH")
            assert until(lambda: relay.counts["hints"] == len(SESSIONS))
            assert until(lambda: _all_came(client, relay))
