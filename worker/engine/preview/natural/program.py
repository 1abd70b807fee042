"""Loads a voice once and forks for every text. A program, run by path.

    python -I program.py <english | japanese>

A text's process begins in the state after loading, whatever was spoken before: the same text gives the same samples
every time. One forked process always waits, so that a text need not wait for a fork.

The standard input is a UNIX socket. For every text it brings one byte with a connected socket, from which the text's
process reads a request, a line of JSON, and to which it writes frames (`FRAME`): its process ID, samples, then an
end or an error. In the other direction it carries READY.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

FRAME = struct.Struct("<BI")  # its kind and the length of what follows it
SAMPLES, END, ERROR, BEGUN = 0, 1, 2, 3
MAX_FRAME_BYTES = 1 << 16

_CPU_LIMIT_S = 60  # a segment takes below one; ends a synthesis that hangs after its worker was killed
READY = b"r"  # sent by each process that waits for a text
_TAKEN = b"t"
_MAX_LOST = 8  # processes in a row that ended before they got a text

Speak = Callable[[dict[str, Any]], Iterator[bytes]]
_WARM_UP = {
    "english": {"pieces": [["The quick brown fox jumps over the dog.", 0]], "speed": 1.0},
    "japanese": {"pieces": [["今日は良い天気です。", 0]], "speed": 1.0, "half_tone": 0.0},
}


def main(voice: str) -> int:
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # a service manager sends them to every process of the worker
    _forbid_networking()
    control = socket.socket(fileno=os.dup(0))
    try:
        speak = _load(voice)
    except Exception as error:  # whatever a third party's package raises: its worker gets the reason
        _serve(control, _refusing(error))
        return 1
    gc.collect()
    gc.freeze()  # a collection in a forked process would copy the dictionaries' pages
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no zombies
    n_lost = 0
    while n_lost < _MAX_LOST:
        waiting = _fork(control, speak, _WARM_UP[voice])
        match _outcome(waiting, control):
            case "taken":
                n_lost = 0
            case "lost":
                n_lost += 1
            case _:
                return 0
    return 1


def _load(voice: str) -> Speak:
    sys.modules["scipy"] = None  # type: ignore[assignment]  # with it hibari's samples would be others
    sys.path.insert(0, str(Path(__file__).resolve().parents[4]))
    if voice == "japanese":
        from worker.engine.preview.natural import japanese

        return japanese.load()
    from worker.engine.preview.natural import english

    return english.load()


def _forbid_networking() -> None:
    def refuse(event: str, _arguments: tuple[Any, ...]) -> None:
        if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "urllib.Request"):
            raise PermissionError(f"a preview voice tried to use the network ({event})")

    sys.addaudithook(refuse)


def _fork(control: socket.socket, speak: Speak, warm_up: dict[str, Any]) -> int:
    """Fork a process that waits for the next text. Returns a pipe's end: it reads _TAKEN, then the pipe's end.

    It speaks a text in vain first: the pages that a text touches are copied then, and not while a listener waits.
    """
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        return reader
    os.close(reader)
    with suppress(BaseException):  # nothing may unwind into the loop that forked
        for _ in speak(warm_up):
            pass
        control.send(READY)
        _serve(control, speak, writer)
    os._exit(0)


def _outcome(waiting: int, control: socket.socket) -> str:
    """Wait until the forked process has a text ("taken") or died ("lost"), or the worker is gone ("left")."""
    poll = select.poll()
    poll.register(waiting, select.POLLIN)
    poll.register(control, 0)  # a hang-up is always reported
    try:
        ready = dict(poll.poll())
        if waiting in ready:
            return "taken" if os.read(waiting, 1) == _TAKEN else "left" if control.fileno() in ready else "lost"
        return "left"
    finally:
        os.close(waiting)


def _serve(control: socket.socket, speak: Speak, taken: int | None = None) -> None:
    """Wait for one text and speak it."""
    _, descriptors, _, _ = socket.recv_fds(control, 1, 1)
    if not descriptors:
        return  # the worker is gone
    if taken is not None:
        os.write(taken, _TAKEN)
        os.close(taken)
    control.close()
    os.close(0)
    with suppress(OSError):
        Path("/proc/self/comm").write_text("speaking", "utf-8")  # for `top`, where there is a /proc
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_LIMIT_S, _CPU_LIMIT_S))
    with socket.socket(fileno=descriptors[0]) as text:
        try:
            with text.makefile("rb") as requests:
                request = json.loads(requests.readline())
            _send(text, BEGUN, str(os.getpid()).encode())
            for samples in speak(request):
                for at in range(0, len(samples), MAX_FRAME_BYTES):
                    _send(text, SAMPLES, samples[at : at + MAX_FRAME_BYTES])
            _send(text, END, b"")
        except OSError as error:
            if not isinstance(error, (BrokenPipeError, ConnectionResetError)):
                _send(text, ERROR, _reason(error))
        except Exception as error:  # whatever a third party's package raises
            _send(text, ERROR, _reason(error))


def _refusing(error: Exception) -> Speak:
    def speak(_request: dict[str, Any]) -> Iterator[bytes]:
        raise error

    return speak


def _send(text: socket.socket, kind: int, content: bytes) -> None:
    text.sendall(FRAME.pack(kind, len(content)) + content)


def _reason(error: Exception) -> bytes:
    return f"{type(error).__name__}: {error}".encode(errors="replace")[:1000]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
