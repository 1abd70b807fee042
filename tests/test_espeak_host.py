"""The espeak-ng host's functions, called in this process; as a process of its own it is in test_espeak."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import resource
import signal
import socket
from collections.abc import Iterator

import espeakng_loader
import pytest

from worker.engine.preview import espeak_host as host

HELLO: dict[str, object] = {"text": "Hello", "voice": "en", "rate_wpm": 175, "pitch": 50}


class Ended(Exception):
    """Stands for the end of a process."""


@pytest.fixture(scope="module")
def espeak() -> ctypes.CDLL:
    return host.initialise(espeakng_loader.get_library_path(), espeakng_loader.get_data_path())[0]


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    with near, far:
        yield near, far


def messages(near: socket.socket) -> list[tuple[int, bytes]]:
    """Everything that was sent, the sender being done."""
    data, found = b"", []
    while part := near.recv(1 << 20):
        data += part
    while data:
        kind, n_bytes = host.HEADER.unpack_from(data)
        found.append((kind, data[host.HEADER.size :][:n_bytes]))
        data = data[host.HEADER.size + n_bytes :]
    return found


def test_samples_are_followed_by_the_end(espeak: ctypes.CDLL, ends: tuple[socket.socket, socket.socket]) -> None:
    near, far = ends
    host.synthesise(espeak, far, HELLO)
    far.close()
    *spoken, last = messages(near)
    assert {kind for kind, _ in spoken} == {host.PCM}
    assert sum(len(data) for _, data in spoken) > 10_000
    assert last == (host.END, b"")


def test_an_unknown_voice_is_named(espeak: ctypes.CDLL, ends: tuple[socket.socket, socket.socket]) -> None:
    near, far = ends
    host.synthesise(espeak, far, HELLO | {"voice": "xx"})
    far.close()
    assert messages(near) == [(host.NO_VOICE, b"xx")]


def test_a_failing_library_is_reported(
    espeak: ctypes.CDLL, ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    near, far = ends
    monkeypatch.setattr(espeak, "espeak_Synth", lambda *_: -1)
    host.synthesise(espeak, far, HELLO)
    far.close()
    assert messages(near) == [(host.FAILED, b"espeak_Synth gave -1")]


def test_a_reader_who_is_gone_stops_the_synthesis(
    espeak: ctypes.CDLL, ends: tuple[socket.socket, socket.socket]
) -> None:
    near, far = ends
    near.close()
    with pytest.raises(OSError, match="pipe"):
        host.synthesise(espeak, far, HELLO)


def test_data_that_is_not_there_is_an_error() -> None:
    with pytest.raises(OSError, match="gave -1"):
        host.initialise("-1", "nowhere")


@pytest.fixture(autouse=True)
def _loader(monkeypatch: pytest.MonkeyPatch) -> None:
    real = ctypes.CDLL

    class Silent:
        """A library whose initialisation gives the number it was named after."""

        def __init__(self, number: str) -> None:
            self.espeak_Synth = type("Function", (), {"argtypes": None})()
            self.espeak_Initialize = lambda *_: int(number)

    def load(path: str) -> object:
        return Silent(path) if path.lstrip("-").isdigit() else real(path)

    monkeypatch.setattr(ctypes, "CDLL", load)


class Forks:
    """Replaces what makes and ends processes: the child's part runs here and ends by raising Ended."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, result: int | OSError) -> None:
        self._result = result
        monkeypatch.setattr(os, "fork", self._fork)
        monkeypatch.setattr(os, "_exit", self._exit)
        monkeypatch.setattr(resource, "setrlimit", lambda *_: None)

    def _fork(self) -> int:
        if isinstance(self._result, OSError):
            raise self._result
        return self._result

    def _exit(self, status: int) -> None:
        assert status == 0
        raise Ended


def ask(control: socket.socket, request: bytes) -> socket.socket:
    near, far = socket.socketpair()
    with far:
        socket.send_fds(control, [b"+"], [far.fileno()])
    near.sendall(request)
    near.shutdown(socket.SHUT_WR)
    return near


@pytest.mark.parametrize(
    ("request_bytes", "kinds"),
    [(json.dumps(HELLO).encode(), {host.PCM, host.END}), (b"no JSON", {host.FAILED}), (b"{}", {host.FAILED})],
)
def test_a_child_answers_its_request_and_ends(
    espeak: ctypes.CDLL,
    ends: tuple[socket.socket, socket.socket],
    monkeypatch: pytest.MonkeyPatch,
    request_bytes: bytes,
    kinds: set[int],
) -> None:
    Forks(monkeypatch, 0)
    with ask(ends[0], request_bytes) as near:
        with pytest.raises(Ended):
            host.serve(ends[1], espeak)
        assert {kind for kind, _ in messages(near)} == kinds


def test_a_child_whose_reader_left_ends_quietly(
    espeak: ctypes.CDLL, ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    Forks(monkeypatch, 0)
    ask(ends[0], json.dumps(HELLO).encode()).close()
    with pytest.raises(Ended):
        host.serve(ends[1], espeak)


def test_the_host_hands_over_and_goes_on_until_its_control_closes(
    espeak: ctypes.CDLL, ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    Forks(monkeypatch, 4711)
    with ask(ends[0], b"") as first, ask(ends[0], b"") as second:
        ends[0].close()
        host.serve(ends[1], espeak)
        assert messages(first) == messages(second) == []


def test_a_fork_that_fails_is_reported_and_the_host_goes_on(
    espeak: ctypes.CDLL, ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    Forks(monkeypatch, BlockingIOError("no more processes"))
    with ask(ends[0], b"") as first, ask(ends[0], b"") as second:
        ends[0].close()
        host.serve(ends[1], espeak)
        for near in (first, second):
            [(kind, why)] = messages(near)
            assert kind == host.FAILED
            assert b"no more processes" in why


@pytest.mark.parametrize(("rate_hz", "kind"), [("22050", host.READY), ("-1", host.FAILED)])
def test_the_host_says_whether_it_is_ready(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch, rate_hz: str, kind: int
) -> None:
    ignored: list[int] = []
    monkeypatch.setattr(signal, "signal", lambda number, _: ignored.append(number))
    monkeypatch.setattr(host, "serve", lambda *_: None)
    monkeypatch.setattr(gc, "disable", lambda: None)
    monkeypatch.setattr(gc, "freeze", lambda: None)
    host.main(ends[1].detach(), rate_hz, "nowhere")
    [(said, _)] = messages(ends[0])
    assert said == kind
    assert set(ignored) == {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD}
