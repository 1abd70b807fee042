"""doctor: it finds what is wrong, says what to do, ends whatever hangs, and never shows a password."""

from __future__ import annotations

import functools
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import redis

from tests.conftest import REPOSITORY, Server, make_settings
from tests.findings import NOBODY_THERE, by_name
from worker.commands.doctor import qwen as doctor_qwen
from worker.commands.doctor import redis as doctor_redis
from worker.commands.doctor.findings import State
from worker.commands.doctor.redis import check_redis
from worker.commands.doctor.run import doctor, examine
from worker.embedded import embedded_valkey
from worker.settings import Settings
from worker.stream.transport.address import Address


@pytest.fixture(autouse=True)
def _no_settings_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module", autouse=True)
def _torch_imported_once() -> Iterator[None]:
    """The process that imports torch runs for one of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(doctor_qwen, "probe_torch", functools.cache(doctor_qwen.probe_torch))
        yield


# The command.


def test_all_is_well_with_the_preview_engine_and_a_redis_with_aof(capsys: pytest.CaptureFixture[str]) -> None:
    with embedded_valkey(aof=True) as server:
        configure(server.url, proto_max_bulk_len="1mb")
        assert doctor(make_settings(server.url), as_json=False) == 0
    shown = capsys.readouterr().out.splitlines()
    assert not [line for line in shown if line.startswith(("warn", "fail"))]
    assert shown[-1].endswith("0 failed, 0 warnings")


def test_json_holds_every_row_with_state_and_remedy(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(settings, as_json=True) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is True
    assert {tuple(row) for row in report["findings"]} == {("what", "state", "detail", "remedy")}
    for row in report["findings"]:
        assert row["state"] in ("ok", "warn", "fail")
        assert bool(row["remedy"]) == (row["state"] != "ok")


def test_a_redis_that_is_not_there_fails_and_the_rest_is_still_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(make_settings(NOBODY_THERE), as_json=False) == 1
    shown = capsys.readouterr().out
    assert "fail redis server" in shown
    assert "--redis-url" in shown
    assert "ok   default voice" in shown


def test_passwords_are_never_shown(servers: dict[str, Server], capsys: pytest.CaptureFixture[str]) -> None:
    host = servers["valkey"].url.removeprefix("redis://")
    doctor(make_settings(f"redis://user:pa55word@{host}"), as_json=False)
    doctor(make_settings(f"redis://{host}?password=pa55word"), as_json=True)
    doctor(make_settings("redis://user:pa55word@127.0.0.1:1/0"), as_json=True)
    doctor(make_settings(NOBODY_THERE, redis_username="user", redis_password="pa55word"), as_json=False)
    captured = capsys.readouterr()
    assert "pa55word" not in captured.out + captured.err


def test_keys_that_are_no_settings_are_named_with_the_nearest(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAKIMA_TTS_REDIS_ULR", "redis://elsewhere")
    found = by_name(examine(settings))["settings"]
    assert found.state is State.WARN
    assert "MAKIMA_TTS_REDIS_ULR" in found.detail
    assert "MAKIMA_TTS_REDIS_URL" in found.remedy


# Redis.


def configure(url: str, **directives: str) -> None:
    with redis.Redis.from_url(url, protocol=2) as client:
        for name, value in directives.items():
            client.config_set(name.replace("_", "-"), value)


def test_a_server_with_its_defaults_is_warned_about_and_enough(
    valkey: redis.Redis, valkey_server: Server, settings: Settings
) -> None:
    found = by_name(check_redis(settings))
    assert found["redis server"].state is State.OK
    assert re.fullmatch(r"(redis|valkey) [0-9.]+ at redis://127.0.0.1:\d+/0", found["redis server"].detail)
    assert found["redis scripts"].detail == "10 of 10 loaded"
    assert found["redis appendonly"].state is State.WARN
    assert found["redis proto-max-bulk-len"].state is State.WARN
    assert found["redis maxmemory-policy"].state is State.OK
    assert valkey.dbsize() == 0


def test_damage_of_the_queue_is_a_row_each(valkey: redis.Redis, settings: Settings) -> None:
    assert by_name(check_redis(settings))["redis queue"].state is State.OK
    valkey.hset("makima:{speak}:gates", "A", "oops")
    valkey.set("makima:{speak}:ready", "x")
    rows = [finding for finding in check_redis(settings) if finding.what == "redis queue"]
    assert [row.state for row in rows] == [State.WARN, State.WARN]
    assert "'A' → 'oops'" in rows[0].detail
    assert "is a string where a list belongs" in rows[1].detail
    assert "queue repair" in rows[0].remedy
    valkey.delete("makima:{speak}:ready")


def test_an_evicting_redis_is_warned_about() -> None:
    with embedded_valkey() as server:
        configure(server.url, maxmemory_policy="allkeys-lru")
        found = by_name(check_redis(make_settings(server.url)))
    assert found["redis maxmemory-policy"].state is State.WARN
    assert "noeviction" in found["redis maxmemory-policy"].remedy


def test_what_the_workers_acl_user_may_not_ask_is_said_and_is_no_failure() -> None:
    with embedded_valkey(aof=True) as server:
        rules = (REPOSITORY / "deploy/redis/users.acl").read_text("utf-8").splitlines()
        words = next(line for line in rules if line.startswith("user worker ")).split()
        with redis.Redis.from_url(server.url, protocol=2) as client:
            client.execute_command("ACL", "SETUSER", *words[1:])
            client.execute_command("ACL", "SETUSER", "mute", "on", ">x", "~*", "+ping")
        worker = {"redis_username": "worker", "redis_password": "change-me-worker"}
        found = by_name(check_redis(make_settings(server.url, **worker)))
        mute = by_name(check_redis(make_settings(server.url, redis_username="mute", redis_password="x")))
        wrong = by_name(check_redis(make_settings(server.url, redis_username="worker", redis_password="no")))
    assert {finding.state for finding in found.values()} == {State.OK, State.WARN}
    assert "valkey" in found["redis server"].detail
    for name in ("appendonly", "maxmemory-policy", "proto-max-bulk-len"):
        assert "may not ask" in found[f"redis {name}"].detail
    assert [found[f"redis {name}"].state for name in ("texts", "hints")] == [State.OK, State.OK]
    for name in ("texts", "hints"):
        assert mute[f"redis {name}"].state is State.WARN
        assert "users.acl" in mute[f"redis {name}"].remedy
    assert mute["redis scripts"].state is State.FAIL
    assert "users.acl" in mute["redis scripts"].remedy
    assert mute["redis clock"].state is State.WARN
    assert "MAKIMA_TTS_REDIS_PASSWORD_FILE" in wrong["redis server"].remedy


def test_hints_that_are_turned_off_need_no_right(settings: Settings) -> None:
    found = by_name(check_redis(settings.model_copy(update={"hints": False})))["redis hints"]
    assert found.state is State.OK
    assert "MAKIMA_TTS_HINTS" in found.detail


def test_a_redis_that_is_too_old_fails(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    async def info(_: object) -> dict[str, str]:
        return {"redis_version": "6.2.14"}

    monkeypatch.setattr(doctor_redis, "_info", info)
    found = by_name(check_redis(settings))["redis server"]
    assert found.state is State.FAIL
    assert "6.2.14" in found.detail


async def test_a_version_that_is_kept_from_us_is_a_warning() -> None:
    class Reticent:
        async def call(self, *command: object) -> object:
            raise redis.ResponseError("unknown command 'HELLO'")

    plane = doctor_redis.RedisRole("redis", "redis://here", Address(NOBODY_THERE), (), keeps_jobs=True)
    finding = await doctor_redis._server(Reticent(), {}, plane)  # type: ignore[arg-type]
    assert finding.state is State.WARN
    assert "7.0" in finding.remedy


def test_a_server_that_accepts_and_never_answers_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_redis, "PLANE_TIMEOUT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        found = list(check_redis(make_settings(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")))
    assert time.monotonic() - began < 5
    assert [finding.state for finding in found] == [State.FAIL]
    assert "no answer in time" in found[0].detail


def test_a_server_that_speaks_another_language_fails() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection, suppress(OSError):
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                connection.recv(1000)

        thread = threading.Thread(target=answer)
        thread.start()
        found = list(check_redis(make_settings(f"redis://127.0.0.1:{server.getsockname()[1]}/0")))
        thread.join(10)
    assert [finding.state for finding in found] == [State.FAIL]


def test_two_planes_are_both_examined_and_their_clocks_compared(valkey_server: Server) -> None:
    with embedded_valkey() as sessions:
        found = by_name(check_redis(make_settings(valkey_server.url, session_redis_url=sessions.url)))
        lost = by_name(check_redis(make_settings(NOBODY_THERE, session_redis_url=sessions.url)))
    assert found["job redis scripts"].detail == "5 of 5 loaded"
    assert found["session redis scripts"].detail == "5 of 5 loaded"
    assert "session redis appendonly" not in found
    assert found["clocks"].state is State.OK
    assert lost["job redis server"].state is State.FAIL
    assert lost["session redis server"].state is State.OK
    assert "clocks" not in lost


@pytest.mark.parametrize(("apart_ms", "state"), [(10, "ok"), (600, "warn"), (1500, "fail")])
def test_servers_whose_clocks_differ_by_more_than_a_lease_fail(apart_ms: float, state: str) -> None:
    (finding,) = doctor_redis._check_clocks(0.0, apart_ms, lease_ms=1000)
    assert finding.state == state


def test_a_clock_far_from_this_machines_is_warned_about(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_redis, "time", lambda: time.time() - 3600)
    assert by_name(check_redis(settings))["redis clock"].state is State.WARN


def test_a_slow_redis_is_warned_about(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_redis, "SLOW_PING_MS", 0.0)
    assert by_name(check_redis(settings))["redis latency"].state is State.WARN


def test_a_password_file_that_cannot_be_read_is_a_finding() -> None:
    (finding,) = check_redis(make_settings(NOBODY_THERE, redis_password_file=Path("absent")))
    assert finding.state is State.FAIL
    assert "absent" in finding.detail
