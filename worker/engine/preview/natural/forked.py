"""The worker's side of a voice's processes (`program`): the process that forks, and the stream of one text."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worker.engine.base import EngineError
from worker.engine.preview.natural.program import BEGUN, END, ERROR, FRAME, MAX_FRAME_BYTES, SAMPLES

PROGRAM = Path(__file__).with_name("program.py")
ANSWER_S = 20.0  # a voice loads within 2 s, and a text's first samples come within 0.5 s
_READ_BYTES = 65_536
_BUFFER_BYTES = 1 << 18  # a request must fit: it is written at once
_OF_THE_LIBRARIES = ("HIBARI", "MKL_", "NPY_", "NUMPY", "OMP_", "OPENBLAS", "OPEN_JTALK", "ORT_", "PYOPENJTALK")
_SETTINGS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "ORT_DISABLE_TELEMETRY": "1"}


@dataclass(slots=True)
class ForkedVoice:
    """A voice's process, started when it is first needed and again after it died. rate_hz: of its samples.

    package: the one that it needs. remedy: for its errors.
    """

    name: str
    package: str
    rate_hz: int
    remedy: str
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _control: socket.socket | None = field(default=None, init=False)
    _n_texts: int = field(default=0, init=False)  # given to the process
    _n_ready: int = field(default=0, init=False)  # READYs received from it

    def start(self) -> None:
        """Start the process unless it runs; it loads in the background. Raises EngineError."""
        if self._process is not None and self._process.poll() is None:
            return
        self.close()
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(  # noqa: S603 (our own program, no shell)
                    [sys.executable, "-I", str(PROGRAM), self.name],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=_environment(),
                    start_new_session=True,  # out of reach of the terminal's Ctrl-C
                )
            except (OSError, ValueError) as error:
                ours.close()
                raise EngineError(f"the {self.name} voice's process cannot be started: {error}") from error
        ours.setblocking(False)
        self._control, self._n_texts, self._n_ready = ours, 0, 0

    def wait_until_ready(self) -> None:
        """Wait, at most 20 s, until a text can begin at once. Returns also when the process is not running or ends."""
        until_s = time.monotonic() + ANSWER_S
        while self._control is not None and self._n_ready <= self._n_texts:
            poll = select.poll()
            poll.register(self._control, select.POLLIN)
            if not poll.poll(max(0.0, until_s - time.monotonic()) * 1000) or not self._count_ready():
                return

    def _count_ready(self) -> bool:
        """Take the READYs that are there, so that they never fill the socket; False when the process has ended."""
        assert self._control is not None
        try:
            received = self._control.recv(_READ_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self._n_ready += len(received)
        return bool(received)

    def speak(self, request: Mapping[str, Any]) -> ForkedStream:
        """Begin a text; the caller closes the stream. Raises EngineError, as does `read`."""
        self.start()
        assert self._control is not None
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
                ours.setblocking(False)
                ours.sendall(json.dumps(request).encode() + b"\n")
                self._count_ready()
                socket.send_fds(self._control, [b"t"], [theirs.fileno()])
                self._n_texts += 1
            except OSError as error:
                ours.close()
                self.close()
                raise EngineError(f"the {self.name} voice's process takes no text ({error})", self.remedy) from error
        return ForkedStream(self, ours)

    def close(self) -> None:
        """End the process; texts that are being spoken end with their streams. Safe to call twice."""
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class ForkedStream:
    """The samples of one text. A SampleStream. Raises EngineError."""

    def __init__(self, voice: ForkedVoice, text: socket.socket) -> None:
        self.ended = False
        self.rate_hz = voice.rate_hz
        self._voice = voice
        self._text = text
        self._received = bytearray()
        self._pid: int | None = None  # while its process runs
        self._waiting_since_s: float | None = None

    def fileno(self) -> int:
        return self._text.fileno()

    def read(self) -> bytes:
        """The next samples. Raises EngineError, also when nothing came for 20 s."""
        if self.ended:
            return b""
        try:
            data = self._text.recv(_READ_BYTES)
        except BlockingIOError:
            self._check_wait()
            return b""
        except OSError:
            data = b""
        if not data:
            self._pid = None
            raise self._failure("ended in the middle of a text")
        self._waiting_since_s = None
        self._received += data
        return self._samples()

    def _samples(self) -> bytes:
        """The samples of the frames that are whole."""
        samples = bytearray()
        while len(self._received) >= FRAME.size and not self.ended:
            kind, n_bytes = FRAME.unpack_from(self._received)
            if (
                kind not in (SAMPLES, END, ERROR, BEGUN)
                or n_bytes > MAX_FRAME_BYTES
                or (kind == SAMPLES and n_bytes % 2)
            ):
                raise self._failure("sent what is no frame")
            if len(self._received) < FRAME.size + n_bytes:
                break
            content = bytes(self._received[FRAME.size : FRAME.size + n_bytes])
            del self._received[: FRAME.size + n_bytes]
            if kind == ERROR:
                raise self._failure(f"failed: {' '.join(content.decode(errors='replace').split())}")
            if kind == BEGUN:
                self._pid = int(content) if content.isdigit() and int(content) > 1 else None
                continue
            samples += content
            self.ended = kind == END
        return bytes(samples)

    def _check_wait(self) -> None:
        now_s = time.monotonic()
        if self._waiting_since_s is None:
            self._waiting_since_s = now_s
        elif now_s - self._waiting_since_s > ANSWER_S:
            self._voice.close()  # the next text starts it again
            raise self._failure(f"gave no samples for {ANSWER_S:.0f} s")

    def _failure(self, problem: str) -> EngineError:
        return EngineError(f"the {self._voice.name} voice's process {problem}", self._voice.remedy)

    def close(self) -> None:
        """End the text and its process. Safe to call twice."""
        if not self.ended and self._pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
        self._pid = None
        self._text.close()  # a process that has not sent its ID ends when it writes to this


def _environment() -> dict[str, str]:
    """This process's environment without what would change samples, with one thread and no telemetry."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OF_THE_LIBRARIES)}
    return kept | _SETTINGS
