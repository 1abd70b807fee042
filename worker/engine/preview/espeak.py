"""espeak-ng in a process of its own (`espeak_host`): texts go in, samples stream back, always the same.

`Espeak` keeps one host alive and hands it a socket for every text; `EspeakSpeech` is the near end of such a
socket. Texts are spoken at once and independently; a full socket holds its writer back, a closed one ends
it. The host's death does not harm speeches that have begun, and the next one starts a new host. Should this
process be killed, its end of every socket closes, and with them go the host and its children.
"""

from __future__ import annotations

import json
import os
import re
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from worker.engine.base import EngineClosed, EngineError, VoiceUnavailable
from worker.engine.preview.espeak_host import END, HEADER, NO_VOICE, PCM, READY

RATE_HZ = 22_050
_HOST_PROGRAM = Path(__file__).with_name("espeak_host.py")
_ANSWER_S = 10.0  # the host starts in 0.03 s and a text's first samples come after 0.01 s
_READ_BYTES = 65_536
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be spoken and how: espeak-ng's voice name, words per minute, and pitch from 0 to 99."""

    text: str
    voice: str
    rate_wpm: int = 175
    pitch: int = 50

    def pack(self) -> bytes:
        """The request as the host reads it.

        espeak-ng ends a text at a NUL and obeys commands behind other control characters: they become spaces.
        """
        text = _CONTROL_CHARACTERS.sub(" ", self.text).encode(errors="replace").decode()
        return json.dumps(asdict(self) | {"text": text}).encode()


@dataclass(frozen=True, slots=True)
class Library:
    """Where the installed espeak-ng lies."""

    path: str
    data_folder: str

    @classmethod
    def find(cls) -> Library:
        """Find the library that the `preview` extra installs. Raises EngineError."""
        if not hasattr(os, "fork"):
            raise EngineError("the preview engine needs a POSIX system (Linux, macOS, WSL)")
        try:
            import espeakng_loader
        except ImportError as error:
            raise EngineError("the preview engine needs espeak-ng: pip install 'makima-tts[preview]'") from error
        path = espeakng_loader.get_library_path()
        if not Path(path).exists():
            raise EngineError(f"espeakng-loader has no library at {path}: reinstall 'makima-tts[preview]'")
        return cls(path, str(Path(path).parent / "espeak-ng-data"))

    def has_variant(self, voice: str) -> bool:
        """True when what follows `+` in a voice's name exists; espeak-ng would pass over it in silence."""
        _, plus, variant = voice.partition("+")
        if not plus:
            return True
        return variant in {file.name for file in (Path(self.data_folder) / "voices" / "!v").iterdir()}


class EspeakSpeech:
    """A text being spoken, read as its samples come. `ended`: there will be no more."""

    def __init__(self, near_end: socket.socket) -> None:
        near_end.setblocking(False)
        self.ended = False
        self._socket = near_end
        self._received = bytearray()
        self._waiting_since_s: float | None = None

    def fileno(self) -> int:
        return self._socket.fileno()

    def read(self) -> bytes:
        """The next int16 samples, or nothing when there are none yet or no more. Never blocks.

        Raises VoiceUnavailable and EngineError, also when nothing came for 10 s.
        """
        if self.ended:
            return b""
        try:
            data = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            self._wait()
            return b""
        except OSError as error:
            raise EngineError(f"espeak-ng's process broke off: {error}") from error
        if not data:
            raise EngineError("espeak-ng's process ended in the middle of a text; it will be started again")
        self._waiting_since_s = None
        self._received += data
        return self._samples()

    def _wait(self) -> None:
        now_s = time.monotonic()
        if self._waiting_since_s is None:
            self._waiting_since_s = now_s
        elif now_s - self._waiting_since_s > _ANSWER_S:
            raise EngineError(f"espeak-ng gave no samples for {_ANSWER_S:.0f} s")

    def _samples(self) -> bytes:
        samples = bytearray()
        while len(self._received) >= HEADER.size:
            kind, n_bytes = HEADER.unpack_from(self._received)
            if len(self._received) < HEADER.size + n_bytes:
                break
            body = bytes(self._received[HEADER.size : HEADER.size + n_bytes])
            del self._received[: HEADER.size + n_bytes]
            if kind == PCM:
                samples += body
            elif kind == END:
                self.ended = True
            elif kind == NO_VOICE:
                raise VoiceUnavailable(_no_voice(body.decode()))
            else:
                raise EngineError(f"espeak-ng failed: {body.decode(errors='replace')}")
        return bytes(samples)

    def close(self) -> None:
        """Stop speaking; what was not read is dropped. Safe to call twice."""
        self._socket.close()


class Espeak:
    """One espeak-ng host and what is known of it. The host starts at the first call that needs it."""

    def __init__(self) -> None:
        self._host: _Host | None = None
        self._voices_found: set[str] = set()
        self._is_closed = False

    @property
    def pid(self) -> int | None:
        """The host's process id, or None while there is none."""
        return None if self._host is None else self._host.process.pid

    def check(self, voice: str) -> None:
        """Return when espeak-ng has this voice, asked once. Raises VoiceUnavailable, EngineError."""
        if voice in self._voices_found:
            return
        if not Library.find().has_variant(voice):
            raise VoiceUnavailable(_no_voice(voice))
        speech = self._begin(Request(text="", voice=voice))
        try:
            while not speech.ended:
                wait_for_samples([speech], 0.1)
                speech.read()
        except VoiceUnavailable:
            raise
        except EngineError:
            self.restart()
            raise
        finally:
            speech.close()
        self._voices_found.add(voice)

    def speak(self, request: Request) -> EspeakSpeech:
        """Begin to speak; the caller closes the speech. Raises VoiceUnavailable, EngineError."""
        self.check(request.voice)
        return self._begin(request)

    def _begin(self, request: Request) -> EspeakSpeech:
        if self._is_closed:
            raise EngineClosed("the preview engine is closed")
        try:
            return self._running_host().begin(request)
        except OSError:
            self.restart()  # it has only just died; a fresh one may do
        try:
            return self._running_host().begin(request)
        except OSError as error:
            self.restart()
            raise EngineError(f"espeak-ng's process does not take a text: {error}") from error

    def _running_host(self) -> _Host:
        if self._host is None or not self._host.is_alive:
            self.restart()
            self._host = _Host()
        return self._host

    def restart(self) -> None:
        """Leave a host that failed; the next text starts a new one. Speeches that have begun go on."""
        host, self._host = self._host, None
        if host is not None:
            host.stop()

    def close(self) -> None:
        """End the host, and no other process. Close the speeches first. Safe to call twice."""
        self._is_closed = True
        self.restart()


class _Host:
    """A running espeak_host and the control socket to it."""

    def __init__(self) -> None:
        library = Library.find()
        self._control, far_end = socket.socketpair()
        self._control.settimeout(_ANSWER_S)
        arguments = [str(far_end.fileno()), library.path, library.data_folder]
        try:
            with far_end:
                self.process = subprocess.Popen(  # noqa: S603 (our own program, no shell)
                    [sys.executable, "-I", "-S", str(_HOST_PROGRAM), *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,  # a pipe that nobody reads would hold it up
                    pass_fds=[far_end.fileno()],
                    start_new_session=True,  # out of reach of the terminal's Ctrl-C
                )
        except OSError as error:
            self._control.close()
            raise EngineError(f"espeak-ng's process cannot be started: {error}") from error
        try:
            self._await_ready()
        except BaseException:
            self.stop()
            raise

    def _await_ready(self) -> None:
        try:
            kind, n_bytes = HEADER.unpack(self._receive(HEADER.size))
            body = self._receive(n_bytes)
        except OSError as error:
            raise EngineError(f"espeak-ng's process did not start: {error}") from error
        if kind != READY:
            raise EngineError(f"espeak-ng cannot be used: {body.decode(errors='replace')}")
        rate_hz = json.loads(body)["rate_hz"]
        if rate_hz != RATE_HZ:
            raise EngineError(f"this espeak-ng speaks at {rate_hz} Hz instead of {RATE_HZ}: install another")

    def _receive(self, n_bytes: int) -> bytes:
        data = b""
        while len(data) < n_bytes:
            part = self._control.recv(n_bytes - len(data))
            if not part:
                raise ConnectionResetError("it ended at once")
            data += part
        return data

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    def begin(self, request: Request) -> EspeakSpeech:
        """Hand the host one end of a new socket and write the request into the other. Raises OSError."""
        near_end, far_end = socket.socketpair()
        try:
            with far_end:
                socket.send_fds(self._control, [b"+"], [far_end.fileno()])
            near_end.settimeout(_ANSWER_S)
            near_end.sendall(request.pack())
            near_end.shutdown(socket.SHUT_WR)
            return EspeakSpeech(near_end)
        except BaseException:
            near_end.close()
            raise

    def stop(self) -> None:
        self._control.close()
        try:
            self.process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def wait_for_samples(speeches: Iterable[EspeakSpeech], timeout_s: float) -> None:
    """Block until one of these has something to read, at most `timeout_s`."""
    waiting = select.poll()
    for speech in speeches:
        waiting.register(speech.fileno(), select.POLLIN)
    waiting.poll(timeout_s * 1000)


def _no_voice(voice: str) -> str:
    return (
        f"the installed espeak-ng has no voice {voice!r}: "
        "choose another language, or another voice in the card's [preview.espeak_voices]"
    )
