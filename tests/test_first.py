"""How a process starts: on odd hosts, with odd files, and when a signal comes before it is ready."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.conftest import REPOSITORY, Process, Server
from tests.processes import children_of, full_pipe, until
from tests.shell import ENVIRONMENT
from tests.stream.servers import free_port
from worker.settings import Settings, unknown_keys

NOWHERE = "redis://127.0.0.1:1/0"
WORKER = ["worker", "--engine", "preview", "--voice", "placeholder", "--redis-url", NOWHERE]
COMMANDS = [
    (["voices", "list"], 0),
    (["voices", "check", "--no-judge"], 1),
    (["doctor", "--redis-url", NOWHERE], 1),
    (["queue", "status", "--redis-url", NOWHERE], 1),
    (["cancel", "s1", "--redis-url", NOWHERE], 1),
    (["speak", "Hello.", "--redis-url", NOWHERE], 1),
    (["model", "check", "~/model"], 1),
    (["demo", "Hello.", "--engine", "preview", "--voice", "placeholder", "--out", "x.wav"], 0),
]
NO_HOME = """
import pwd
def nobody(uid):
    raise KeyError(f"getpwuid(): uid not found: {uid}")
pwd.getpwuid = nobody
"""


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "worker.cli", *words]


@pytest.fixture
def nobody(tmp_path: Path) -> dict[str, str]:
    """The environment of `env -i`, for a user of whom the system knows nothing."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(NO_HOME)
    return {"PYTHONPATH": os.pathsep.join([str(site), str(REPOSITORY)])}


@pytest.mark.parametrize(("words", "status"), COMMANDS, ids=[words[0] for words, _ in COMMANDS])
def test_a_user_without_a_home_runs_every_command(
    words: list[str], status: int, nobody: dict[str, str], tmp_path: Path
) -> None:
    done = subprocess.run(command(*words), env=nobody, cwd=tmp_path, capture_output=True, timeout=300, check=False)
    assert done.returncode == status, done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert b"home directory" not in done.stderr


QUICK = [(words, status) for words, status in COMMANDS if words[0] != "doctor"]


@pytest.mark.parametrize(("words", "status"), QUICK, ids=[words[0] for words, _ in QUICK])
def test_a_folder_that_is_gone_and_closed_files_stop_no_command(words: list[str], status: int, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    words = [str(tmp_path / word) if word == "x.wav" else word for word in words]
    script = 'rmdir "$PWD"; exec "$@" <&- >&- 2>&-'
    done = subprocess.run(
        ["/bin/sh", "-c", script, "sh", *command(*words)],
        env=ENVIRONMENT | {"PYTHONPATH": str(REPOSITORY)}, cwd=gone, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == status
    if words[0] == "demo":
        assert (tmp_path / "x.wav").stat().st_size > 1000


def test_a_file_of_settings_that_may_not_be_read_is_left_out_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(".env").write_text("MAKIMA_TTS_SLOTS=3\nMAKIMA_TTS_NONSENSE=1\n")
    assert Settings.load().slots == 3
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert Settings.load().slots == "auto"
    (error,) = unknown_keys()
    assert ".env" in error.problem
    assert "readable" in error.remedy


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("after_s", [0.1, 0.3, 0.6, 1.0])
def test_a_signal_ends_a_worker_that_is_starting_at_once(number: signal.Signals, after_s: float) -> None:
    with running(command(*WORKER, "--log-level", "error")) as process:
        time.sleep(after_s)
        assert ends_within(process, number, 10) in (0, -number, 1), "1: Python itself was starting"


@pytest.fixture
def own_pids() -> list[str]:
    """The words before a command that make it PID 1 of its own."""
    words = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]
    if shutil.which("unshare") is None or subprocess.run([*words, "true"], capture_output=True, check=False).returncode:
        pytest.skip("PIDs of one's own cannot be had here: unshare is missing, or not allowed")
    return words


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_as_pid_1_a_worker_ends_at_a_signal_while_it_starts(own_pids: list[str], number: signal.Signals) -> None:
    with running([*own_pids, *command(*WORKER)]) as unshare:
        pid = first_child(unshare.pid)
        assert until(lambda: bool(children_of(pid)), 30), "from here on it listens; before, Python itself is starting"
        os.kill(pid, number)
        assert unshare.wait(20) == 128 + number


def test_as_pid_1_a_worker_drains_at_sigterm_and_reaps_orphans(own_pids: list[str], valkey_server: Server) -> None:
    orphan = 'sh -c "sleep 0.2 & exec sleep 0" & exec "$@"'
    words = command(*WORKER[:-1], valkey_server.url)
    with running([*own_pids, "sh", "-c", orphan, "sh", *words], stderr=subprocess.PIPE) as unshare:
        pid = first_child(unshare.pid)
        assert unshare.stderr is not None
        for line in unshare.stderr:
            if b" ready" in line:
                break
        assert until(lambda: not any(is_zombie(child) for child in children_of(pid)), 20)
        os.kill(pid, signal.SIGTERM)
        unshare.stderr.read()
        assert unshare.wait(20) == 0


def test_a_second_signal_ends_a_worker_that_drains(valkey_server: Server) -> None:
    worker = Process(valkey_server.url, "--grace-s", "600", "--pace", "1")
    try:
        worker.wait_until_ready()
        publish_a_long_job(valkey_server.url)
        worker.send(signal.SIGINT)
        worker.wait_for("draining")
        time.sleep(0.5)
        assert worker.popen.poll() is None
        assert ends_within(worker.popen, signal.SIGINT, 10) == -signal.SIGINT
    finally:
        worker.popen.kill()
        worker.popen.communicate()


def publish_a_long_job(url: str) -> None:
    with redis.Redis.from_url(url) as client:
        client.flushall()
        client.xadd("makima:{speak}:jobs", {"session_id": "s", "text": "A long text. " * 50})
        assert until(lambda: bool(client.exists("makima:{s}:audio")), 20)


def test_a_worker_whose_terminal_goes_away_drains(valkey_server: Server) -> None:
    words = command(*WORKER[:-1], valkey_server.url)
    pid, terminal = pty.fork()
    if pid == 0:  # pragma: no cover (another process)
        os.execve(words[0], words, {**os.environ, "PYTHONPATH": str(REPOSITORY)})
    said = b""
    while b" ready" not in said:
        said += os.read(terminal, 65536)
    os.kill(pid, signal.SIGHUP)
    while b"voices reloaded" not in said:
        said += os.read(terminal, 65536)
    os.close(terminal)
    status: list[int] = []

    def is_over() -> bool:
        if status:
            return True
        found, how = os.waitpid(pid, os.WNOHANG)
        status.extend([os.waitstatus_to_exitcode(how)] * (found == pid))
        return bool(status)

    assert until(is_over, 30)
    assert status == [0]


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_dev_ends_with_its_terminal_and_its_valkey_with_it(number: signal.Signals) -> None:
    port = free_port()
    with running(command("dev", "--port", str(port), "--voice", "placeholder"), stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if b" ready" in line:
                break
        process.send_signal(number)
        process.stderr.read()
        assert process.wait(30) == 0


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_speak_cancels_its_job_also_with_a_stdout_that_nobody_reads_and_ends_by_the_signal(
    number: signal.Signals, valkey: redis.Redis, valkey_server: Server
) -> None:
    worker = Process(valkey_server.url)
    try:
        worker.wait_until_ready()
        words = command("speak", "A long text. " * 200, "--session", "s", "--redis-url", valkey_server.url)
        with full_pipe() as pipe, running(words, stdout=pipe) as process:
            assert until(lambda: bool(valkey.exists("makima:{s}:audio")), 30)
            time.sleep(0.5)
            assert ends_within(process, number, 20) == -number
        assert valkey.exists("makima:{s}:cut")
    finally:
        worker.end()


@contextmanager
def running(
    words: list[str], stdout: int = subprocess.DEVNULL, stderr: int = subprocess.DEVNULL
) -> Iterator[subprocess.Popen[bytes]]:
    environment = ENVIRONMENT | {"PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen(words, env=environment, cwd=REPOSITORY, stdout=stdout, stderr=stderr)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


def ends_within(process: subprocess.Popen[Any], number: signal.Signals, seconds: float) -> int:
    process.send_signal(number)
    return process.wait(seconds)


def first_child(pid: int) -> int:
    assert until(lambda: bool(children_of(pid)), 20)
    return children_of(pid)[0]


def is_zombie(pid: int) -> bool:
    shown = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return shown.stdout.startswith("Z")
