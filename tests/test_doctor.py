"""doctor: it finds what is wrong, says what to do, ends whatever hangs, and never shows a password."""

from __future__ import annotations

import json
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from tests.conftest import REPOSITORY, Server, make_settings
from worker.commands.doctor import installed as doctor_installed
from worker.commands.doctor import qwen as doctor_qwen
from worker.commands.doctor import redis as doctor_redis
from worker.commands.doctor import speech as doctor_speech
from worker.commands.doctor.findings import Finding, State
from worker.commands.doctor.installed import check_base, check_preview, check_python
from worker.commands.doctor.qwen import check_qwen, probe_torch
from worker.commands.doctor.redis import check_redis
from worker.commands.doctor.run import doctor, examine
from worker.commands.doctor.speech import check_engine, check_speed, check_voices
from worker.embedded import embedded_valkey
from worker.engine.base import EngineError
from worker.engine.checkpoint.packages import fits
from worker.settings import Settings
from worker.stream.transport.address import Address

NOBODY_THERE = "redis://127.0.0.1:1/0"


def by_name(findings: Iterator[Finding] | list[Finding]) -> dict[str, Finding]:
    return {finding.what: finding for finding in findings}


def states(findings: Iterator[Finding] | list[Finding]) -> dict[str, str]:
    return {finding.what: finding.state for finding in findings}


@pytest.fixture(autouse=True)
def _no_settings_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


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


def test_passwords_are_never_shown(valkey_server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    host = valkey_server.url.removeprefix("redis://")
    for url in (
        f"redis://user:pa55word@{host}",
        f"redis://{host}?password=pa55word",
        "redis://user:pa55word@127.0.0.1:1/0",
    ):
        for as_json in (False, True):
            doctor(make_settings(url), as_json)
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
    assert found["redis scripts"].detail == "8 of 8 loaded"
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
    assert mute["redis scripts"].state is State.FAIL
    assert "users.acl" in mute["redis scripts"].remedy
    assert mute["redis clock"].state is State.WARN
    assert "MAKIMA_TTS_REDIS_PASSWORD_FILE" in wrong["redis server"].remedy


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
    assert found["session redis scripts"].detail == "3 of 3 loaded"
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


# Voices, engine, speed.


def test_a_folder_without_voices_fails(tmp_path: Path) -> None:
    (finding,) = check_voices(make_settings(NOBODY_THERE, voices_dir=tmp_path / "absent"))
    assert finding.state is State.FAIL
    assert "MAKIMA_TTS_VOICES_DIR" in finding.detail


@pytest.mark.parametrize(("voice", "state"), [("placeholder", "ok"), ("makima", "warn"), ("nobody", "fail")])
def test_the_default_voice_is_there_incomplete_or_unknown(voice: str, state: str) -> None:
    found = by_name(check_voices(make_settings(NOBODY_THERE, default_voice=voice)))
    assert found["voices"].state is State.OK
    assert found["default voice"].state == state


@pytest.mark.parametrize(("engine", "state"), [("preview", "ok"), ("auto", "warn"), ("qwen", "fail")])
def test_the_engine_that_would_speak_is_named(engine: str, state: str) -> None:
    (finding,) = check_engine(make_settings(NOBODY_THERE, engine=engine))
    assert finding.state == state


def test_no_engine_at_all_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_speech, "installed", lambda name: None)
    settings = make_settings(NOBODY_THERE, engine="auto")
    (finding,) = check_engine(settings)
    assert finding.state is State.FAIL
    assert "[preview]" in finding.remedy
    assert list(check_speed(settings)) == []


def test_qwen_is_named_where_nothing_is_in_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_speech, "qwen_problem", lambda settings: None)
    (finding,) = check_engine(make_settings(NOBODY_THERE, engine="auto"))
    assert (finding.state, finding.detail) == (State.OK, "qwen")


def test_the_preview_engine_is_heard_and_its_speed_measured() -> None:
    found = by_name(check_speed(make_settings(NOBODY_THERE)))
    assert found["preview engine"].state in ("ok", "warn")
    assert "real-time factor 0." in found["speed"].detail


@pytest.mark.parametrize(("engine", "state"), [("preview", "fail"), ("auto", "warn")])
def test_a_preview_engine_that_cannot_speak_is_told(engine: str, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(n_slots: int) -> object:
        raise EngineError("espeak-ng has lost its tongue")

    monkeypatch.setattr(doctor_speech, "PreviewEngine", broken)
    (finding,) = check_speed(make_settings(NOBODY_THERE, engine=engine))
    assert finding.state == state
    assert "lost its tongue" in finding.detail


class _Mute:
    """An engine whose segments fail, are empty, or never end."""

    def __init__(self, *steps: Any) -> None:
        self.steps = list(steps)

    def open(self, segment: object) -> int:
        return 0

    def step(self) -> list[Any]:
        return [self.steps.pop(0)] if self.steps else []

    def close(self) -> None: ...


@pytest.mark.parametrize(
    "engine",
    [
        _Mute(SimpleNamespace(error=EngineError("hoarse"), ended=True, pcm=[])),
        _Mute(SimpleNamespace(error=None, ended=True, pcm=[])),
        _Mute(),
    ],
    ids=["fails", "empty", "never-ends"],
)
def test_a_preview_engine_without_samples_fails_in_time(engine: _Mute, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_speech, "SPEECH_TIMEOUT_S", 0.1)
    monkeypatch.setattr(doctor_speech, "PreviewEngine", lambda n_slots: engine)
    (finding,) = check_speed(make_settings(NOBODY_THERE))
    assert finding.state is State.FAIL


# What is installed.


@pytest.mark.parametrize(
    ("version", "state"), [((3, 10, 9), "fail"), ((3, 11, 0), "ok"), ((3, 13, 2), "ok"), ((3, 14, 0), "fail")]
)
def test_python_311_to_313_will_do(version: tuple[int, ...], state: str) -> None:
    assert check_python(version).state == state


def test_the_base_packages_are_those_of_our_own_metadata() -> None:
    (finding,) = check_base()
    assert finding.state is State.OK
    for name in ("redis", "msgpack", "numpy", "typer"):
        assert f"{name} " in finding.detail
    assert "torch" not in finding.detail
    assert "pytest" not in finding.detail


def test_a_base_package_that_is_missing_or_too_old_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        doctor_installed, "installed", lambda name: {"redis": "7.4.0", "msgpack": None}.get(name, "99.0")
    )
    (finding,) = check_base()
    assert finding.state is State.FAIL
    assert "redis" in finding.detail
    assert "7.4.0" in finding.detail
    assert "none" in finding.detail


def test_a_checkout_that_was_never_installed_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def requires(_: str) -> list[str]:
        raise PackageNotFoundError

    monkeypatch.setattr(doctor_installed, "requires", requires)
    (finding,) = check_base()
    assert finding.state is State.FAIL


def test_a_version_fits_with_its_local_part_or_as_a_prerelease_and_not_when_it_cannot_be_read() -> None:
    assert fits("8.10.0", "<9,>=8.1")
    assert fits("2.11.0+cu130", "==2.11.*")
    assert fits("2.11.0rc1", "==2.11.*")
    assert not fits("unknown", ">=1")


@pytest.mark.parametrize(("engine", "state"), [("preview", "fail"), ("auto", "warn")])
def test_missing_preview_packages_are_told(engine: str, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_installed, "installed", lambda name: None)
    assert states(check_preview(make_settings(NOBODY_THERE, engine=engine))) == {
        "espeak-ng": state,
        "embedded Valkey": "warn",
    }


@pytest.mark.parametrize(("engine", "state"), [("preview", "ok"), ("auto", "warn"), ("qwen", "fail")])
def test_missing_qwen_packages_matter_as_much_as_the_engine_needs_them(
    engine: str, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_qwen, "installed", lambda name: None)
    assert states(check_qwen(make_settings(NOBODY_THERE, engine=engine))) == {"qwen packages": state}


def with_qwen(
    monkeypatch: pytest.MonkeyPatch, probe: dict[str, Any], **versions: str
) -> Callable[..., dict[str, Finding]]:
    here = {"torch": "2.11.0+cu130", "torchaudio": "2.11.0+cu130", "transformers": "4.57.3", "qwen-tts": "0.1.1"}
    monkeypatch.setattr(doctor_qwen, "installed", (here | versions).get)
    monkeypatch.setattr(doctor_qwen, "probe_torch", lambda: probe)
    return lambda **settings: by_name(check_qwen(make_settings(NOBODY_THERE, **settings)))


H200 = {"name": "NVIDIA H200", "free_gib": 138.1, "total_gib": 139.8}


def test_a_gpu_is_named_with_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    found = with_qwen(monkeypatch, {"gpus": [H200], "why": ""})(engine="auto")
    assert {finding.state for finding in found.values()} == {State.OK}
    assert found["gpu"].detail == "NVIDIA H200 (138.1 of 139.8 GiB free)"


def test_torch_and_torchaudio_of_different_versions_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    found = with_qwen(monkeypatch, {"gpus": [H200], "why": ""}, torchaudio="2.10.1")(engine="auto")
    assert found["qwen packages"].state is State.FAIL
    assert "2.11.*" in found["qwen packages"].remedy


@pytest.mark.parametrize(
    ("settings", "state"),
    [
        ({"engine": "qwen"}, "warn"),
        ({"engine": "qwen", "device": "cuda"}, "fail"),
        ({"engine": "auto", "device": "cuda:1"}, "warn"),
        ({"engine": "auto", "device": "cpu"}, "ok"),
        ({"engine": "preview"}, "ok"),
    ],
)
def test_no_gpu_matters_where_one_is_asked_for(
    settings: dict[str, str], state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = with_qwen(monkeypatch, {"gpus": [], "why": "torch was built without CUDA"})(**settings)
    assert found["gpu"].state == state
    assert "built without CUDA" in found["gpu"].detail


@pytest.mark.parametrize(("engine", "state"), [("preview", "warn"), ("auto", "fail")])
def test_a_torch_that_cannot_be_imported_is_told(engine: str, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = with_qwen(monkeypatch, {"error": "ImportError: libcudart.so"}, **{"flash-attn": "2.8.3"})(engine=engine)
    assert found["gpu"].state == state
    assert "libcudart.so" in found["gpu"].detail
    assert found["flash-attn"].detail == "flash-attn 2.8.3"


TORCH = """
from types import SimpleNamespace
__version__ = "2.11.0"
version = SimpleNamespace(cuda={cuda!r})
def _init():
    raise RuntimeError("no driver\\nmore of it")
cuda = SimpleNamespace(
    is_available=lambda: {n} > 0, device_count=lambda: {n}, mem_get_info=lambda n: (2**30, 2**31),
    get_device_name=lambda n: f"GPU {{n}}", init={init},
)
"""


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (TORCH.format(cuda="13.0", n=2, init="_init"), "GPU 1"),
        (TORCH.format(cuda=None, n=0, init="_init"), "built without CUDA"),
        (TORCH.format(cuda="13.0", n=0, init="_init"), "no driver"),
        (TORCH.format(cuda="13.0", n=0, init="lambda: None"), "sees no device"),
        ("raise ImportError('libcudart is missing')", "ImportError: libcudart is missing"),
        ("import os; os._exit(3)", "status 3"),
        ("import time; time.sleep(60)", "no answer within 2 s"),
    ],
    ids=["gpus", "no-cuda-build", "no-driver", "no-device", "broken", "dies", "hangs"],
)
def test_torch_is_asked_in_a_process_of_its_own(
    source: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torch.py").write_text(source, "utf-8")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{REPOSITORY}")
    here = sys.modules.get("torch")  # other tests may have loaded the real one
    assert expected in json.dumps(probe_torch(2.0 if "sleep" in source else 60.0))
    assert sys.modules.get("torch") is here
