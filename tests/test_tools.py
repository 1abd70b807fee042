"""The development tools: commands side by side, and the versions of Rust that dependencies need."""

from __future__ import annotations

import runpy
import signal
import subprocess
import sys
from pathlib import Path

from tests.conftest import REPOSITORY
from tests.processes import until
from tests.stream.servers import free_port

TOOLS = REPOSITORY / "tools"
WAITS = """
import pathlib, signal, socket, sys, time
name, folder = sys.argv[1], pathlib.Path(sys.argv[2])
def end(*_):
    with (folder / "ended").open("a") as log:
        log.write(name)
    sys.exit()
signal.signal(signal.SIGTERM, end)
if name == "a":
    server = socket.create_server(("127.0.0.1", int(sys.argv[3])))
(folder / name).touch()
time.sleep(60)
"""


def side_by_side(tmp_path: Path, *last: str) -> subprocess.Popen[bytes]:
    """`a` opens a port, `b` follows, and then `last`."""
    port = free_port()
    waiting = [[sys.executable, "-c", WAITS, name, str(tmp_path), str(port)] for name in "ab"]
    words = [*waiting[0], "--", *waiting[1], "--", *last] if last else [*waiting[0], "--", *waiting[1]]
    return subprocess.Popen([sys.executable, TOOLS / "together.py", str(port), *words])


def test_commands_side_by_side_end_with_the_first_one_and_its_status(tmp_path: Path) -> None:
    waits_for_both = f"until [ -e {tmp_path}/a ] && [ -e {tmp_path}/b ]; do sleep 0.01; done; exit 3"
    assert side_by_side(tmp_path, "sh", "-c", waits_for_both).wait(30) == 3
    assert (tmp_path / "ended").read_text() == "ba"


def test_a_command_that_does_not_come_up_starts_no_other(tmp_path: Path) -> None:
    words = [str(free_port()), "sh", "-c", "exit 4", "--", "touch", str(tmp_path / "started")]
    done = subprocess.run([sys.executable, TOOLS / "together.py", *words], check=False, timeout=30)
    assert done.returncode == 4
    assert not (tmp_path / "started").exists()


def test_a_signal_ends_commands_side_by_side_the_last_one_first(tmp_path: Path) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        process = side_by_side(tmp_path)
        until(lambda: all((tmp_path / name).exists() for name in "ab"))
        process.send_signal(number)
        assert process.wait(30) == 0
        assert (tmp_path / "ended").read_text() == "ba"
        for name in ("a", "b", "ended"):
            (tmp_path / name).unlink()


def test_a_dependency_that_needs_a_newer_rust_is_named() -> None:
    too_new = runpy.run_path(str(TOOLS / "msrv.py"))["too_new"]
    packages = [
        {"name": name, "version": "1.0.0", "rust_version": version}
        for name, version in {"older": "1.60", "equal": "1.88.0", "silent": None, "newer": "1.100"}.items()
    ]
    (line,) = too_new(packages, "1.88")
    assert line.startswith("newer ")
