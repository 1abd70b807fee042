"""A warm process that forks workers: imports, seconds of CPU for the speech model, are paid once for a whole run.

What is forked has imported the worker's code and run none of it: a child gets a session, a log and a command line of
its own and goes through `makima-tts` from there as one started from a shell does. The nursery dies with its owner,
even one killed without a word, and takes every worker with it.

    python -m tests.chaos.nursery <control fd> <engine> <is naive, 0 or 1>

control: JSON lines, one answer to each request. ["fork", log file, words of the command line …] -> pid;
["send", pid, signal number] -> whether the worker had not ended; ["ended", pid] -> its exit status or null.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
END_TIMEOUT_S = 10.0

_WARM = (
    "worker.cli",
    "worker.commands.serve",
    "worker.settings",
    "worker.observe.logs",
    "worker.engine.preview.engine",
)
# What qwen_tts imports, but not itself: it imports onnxruntime too, whose thread must not be forked.
_WARM_MODEL = (
    "worker.engine.qwen.adapter",
    "transformers.models.mimi.modeling_mimi",
    "accelerate",
    "librosa.core",
    "librosa.filters",
)


class Nursery:
    """The owner's side; may be used from several threads. `fork` waits for the imports, entering does not.

    is_naive: its workers' writers heed no fence (`tests.chaos.naive`).
    """

    def __init__(self, engine: str = "preview", is_naive: bool = False) -> None:
        self.engine = engine
        self._is_naive = is_naive
        self._lock = threading.Lock()

    def __enter__(self) -> Nursery:
        self._control, far_end = socket.socketpair()
        with far_end:
            words = [str(far_end.fileno()), self.engine, str(int(self._is_naive))]
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.nursery", *words],
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                pass_fds=[far_end.fileno()],
                start_new_session=True,  # Ctrl-C is for the owner, who ends this
                env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
            )
        self._answers = self._control.makefile("r")
        return self

    def __exit__(self, *error: object) -> None:
        self._answers.close()
        self._control.close()
        try:
            self._process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid

    def fork(self, words: Sequence[str], log: Path) -> int:
        """Start `makima-tts` with these words, writing to this log; returns its process id at once."""
        return int(self._ask("fork", str(log), *words))

    def send(self, pid: int, number: signal.Signals) -> bool:
        """Send a worker a signal; False when it had ended. After SIGKILL it is gone when this returns."""
        return bool(self._ask("send", pid, int(number)))

    def ended(self, pid: int) -> int | None:
        """A worker's exit status, negative for a signal, or None while it lives."""
        status = self._ask("ended", pid)
        return None if status is None else int(status)

    def _ask(self, *request: object) -> Any:
        answer = ""
        with self._lock, suppress(OSError):
            self._control.sendall(json.dumps(request).encode() + b"\n")
            answer = self._answers.readline()
        if not answer:
            raise RuntimeError(f"the nursery ended with status {self._process.wait(END_TIMEOUT_S)}")
        return json.loads(answer)


class _Parent:
    """The nursery's own side: every worker forked, and how those that were reaped ended."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._living: set[int] = set()
        self._statuses: dict[int, int] = {}

    def serve(self) -> list[str] | None:
        """Answer until the owner is gone. Returns in a child too: the words of its command line."""
        try:
            with self._control.makefile("r") as requests:
                for line in requests:
                    verb, *arguments = json.loads(line)
                    if verb == "fork":
                        log, *words = map(str, arguments)
                        pid = os.fork()
                        if pid == 0:
                            _settle_in(log)
                            return words
                        self._living.add(pid)
                        self._answer(pid)
                    else:
                        self._answer((self._send if verb == "send" else self._ended)(*arguments))
        except ConnectionError:
            pass  # the owner went in the middle of a request
        for pid in self._living:
            os.kill(pid, signal.SIGKILL)
        return None

    def _answer(self, answer: int | bool | None) -> None:
        self._control.sendall(json.dumps(answer).encode() + b"\n")

    def _send(self, pid: int, number: int) -> bool:
        if self._ended(pid) is not None:
            return False
        os.kill(pid, number)
        if number == signal.SIGKILL:
            self._reap(pid, 0)
        return True

    def _ended(self, pid: int) -> int | None:
        if pid in self._living:
            self._reap(pid, os.WNOHANG)
        return self._statuses.get(pid)

    def _reap(self, pid: int, options: int) -> None:
        reaped, status = os.waitpid(pid, options)
        if reaped:
            self._living.discard(pid)
            self._statuses[pid] = os.waitstatus_to_exitcode(status)


def _settle_in(log: str) -> None:
    os.setsid()
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for standard in (1, 2):
        os.dup2(file, standard)
    os.close(file)


def main() -> None:
    """The nursery, or after a fork the worker."""
    fd, engine, is_naive = sys.argv[1:]
    for name in _WARM + (_WARM_MODEL if engine == "qwen" else ()):
        import_module(name)
    if is_naive == "1":
        import_module("tests.chaos.naive").heed_no_fence()
    with socket.socket(fileno=int(fd)) as control:
        words = _Parent(control).serve()
    if words is not None:
        sys.argv = ["makima-tts", *words]
        import_module("worker.cli").main()


if __name__ == "__main__":
    main()
