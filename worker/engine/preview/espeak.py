"""espeak-ng as a synthesiser: one short-lived process (`espeak_process`) for each text.

A full pipe holds the process back, a closed one ends it. When the worker is killed its ends of the pipes close, and
the processes end with it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from worker.engine.base import EngineError, Segment, VoiceUnavailable
from worker.engine.preview.espeak_process import NO_VOICE, RATE_HZ
from worker.engine.preview.synthesiser import wait_for_samples
from worker.engine.preview.voices import espeak_voice
from worker.voices.card import Card

_PROGRAM = Path(__file__).with_name("espeak_process.py")
_ANSWER_S = 10.0  # a text's first samples come after 0.05 s
_READ_BYTES = 65_536
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_REINSTALL = "reinstall espeak-ng: pip install --force-reinstall 'makima-tts[preview]'"


@dataclass(frozen=True, slots=True)
class Request:
    """One text for espeak-ng. voice: espeak-ng's name. rate_wpm: words per minute. pitch: 0 to 99."""

    text: str
    voice: str
    rate_wpm: int = 175
    pitch: int = 50

    def encoded(self) -> bytes:
        """The text in UTF-8, its control characters as blanks.

        espeak-ng ends a text at a NUL and obeys commands behind other control characters.
        """
        return _CONTROL_CHARACTERS.sub(" ", self.text).encode(errors="replace")


@dataclass(frozen=True, slots=True)
class Library:
    """The paths of the installed espeak-ng."""

    path: str
    data_folder: str

    @classmethod
    def find(cls) -> Library:
        """Find the library that the `preview` extra installs. Raises EngineError."""
        if os.name != "posix":
            raise EngineError("the preview engine needs a POSIX system", "use Linux, macOS or WSL")
        try:
            import espeakng_loader
        except ImportError as error:
            raise EngineError("espeak-ng is not installed", "pip install 'makima-tts[preview]'") from error
        path = espeakng_loader.get_library_path()
        if not Path(path).exists():
            raise EngineError(f"espeakng-loader has no library at {path}", _REINSTALL)
        return cls(path, str(Path(path).parent / "espeak-ng-data"))

    def has_variant(self, voice: str) -> bool:
        """True when what follows `+` in a voice's name exists. espeak-ng ignores an unknown variant."""
        _, plus, variant = voice.partition("+")
        if not plus:
            return True
        return variant in {file.name for file in (Path(self.data_folder) / "voices" / "!v").iterdir()}


class EspeakStream:
    """The samples of one text, from a process that ends with it. A SampleStream. Raises EngineError."""

    rate_hz = RATE_HZ

    def __init__(self, library: Library, request: Request) -> None:
        self.ended = False
        self._voice = request.voice
        self._waiting_since_s: float | None = None
        arguments = [library.path, library.data_folder, request.voice, str(request.rate_wpm), str(request.pitch)]
        try:
            self._process = subprocess.Popen(  # noqa: S603 (our own program, no shell)
                [sys.executable, "-I", "-S", str(_PROGRAM), *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,  # out of reach of the terminal's Ctrl-C
            )
        except (OSError, ValueError) as error:
            raise EngineError(f"espeak-ng's process cannot be started: {error}") from error
        stdin, stdout, stderr = self._process.stdin, self._process.stdout, self._process.stderr
        assert stdin is not None
        assert stdout is not None
        assert stderr is not None
        self._stdout, self._stderr = stdout, stderr
        os.set_blocking(self.fileno(), False)
        try:
            stdin.write(request.encoded())
        except BrokenPipeError:
            pass  # it has ended: `read` reports how
        finally:
            stdin.close()

    def fileno(self) -> int:
        return self._stdout.fileno()

    def read(self) -> bytes:
        """The next samples. Raises VoiceUnavailable and EngineError, also when nothing came for 10 s."""
        if self.ended:
            return b""
        data = self._stdout.read(_READ_BYTES)
        if data is None:
            self._check_wait()
            return b""
        self._waiting_since_s = None
        if not data:
            self._check_status()
            self.ended = True
        return data

    def _check_wait(self) -> None:
        now_s = time.monotonic()
        if self._waiting_since_s is None:
            self._waiting_since_s = now_s
        elif now_s - self._waiting_since_s > _ANSWER_S:
            raise EngineError(f"espeak-ng gave no samples for {_ANSWER_S:.0f} s")

    def _check_status(self) -> None:
        status = self._process.wait()
        if status == NO_VOICE:
            raise _no_voice(self._voice)
        if status < 0:
            raise EngineError(f"espeak-ng's process was killed by signal {-status} in the middle of a text")
        if status:
            *_, reason = ["", *self._stderr.read().decode(errors="replace").splitlines()]
            raise EngineError(f"espeak-ng failed ({reason or f'status {status}'})", _REINSTALL)

    def close(self) -> None:
        """End the process. Samples that were not read are lost. Safe to call twice."""
        self._process.kill()
        self._process.wait()
        self._stdout.close()
        self._stderr.close()


class Espeak:
    """A Synthesiser. It keeps which voices were found, and no process."""

    name = "espeak-ng"
    packages = ("espeakng-loader",)

    def __init__(self) -> None:
        self._voices_found: set[str] = set()

    @cached_property
    def _library(self) -> Library:
        return Library.find()

    def model(self, segment: Segment) -> str:
        return self.name

    def check(self, voice: Card, language: str) -> None:
        """Return when espeak-ng has a voice for this language of a card. Raises VoiceUnavailable, EngineError."""
        self.check_voice(_voice_of(voice, language, ""))

    def check_installed(self) -> None:
        """Return when espeak-ng can be loaded. Raises EngineError."""
        self.check_voice("en")

    def check_voice(self, voice: str) -> None:
        """Return when espeak-ng has this voice; a voice that was found once is not looked up again."""
        if voice in self._voices_found:
            return
        stream = self.speak(Request(text="", voice=voice))
        try:
            while not stream.ended:
                wait_for_samples([stream], 0.1)
                stream.read()
        finally:
            stream.close()
        self._voices_found.add(voice)

    def warm_up(self, languages: set[str]) -> None: ...

    def wait_until_ready(self) -> None: ...

    def begin(self, segment: Segment) -> EspeakStream:
        """Begin a segment with its card's voice, rate and pitch. Raises as `speak` does."""
        preview = segment.voice.preview
        voice = _voice_of(segment.voice, segment.language, segment.text)
        return self.speak(Request(segment.text, voice, preview.rate_wpm, preview.pitch))

    def speak(self, request: Request) -> EspeakStream:
        """Begin a text; the caller closes the stream. Raises VoiceUnavailable, EngineError, as does `read`."""
        if not request.voice.isprintable() or not self._library.has_variant(request.voice):
            raise _no_voice(request.voice)
        return EspeakStream(self._library, request)

    def close(self) -> None: ...


def _voice_of(card: Card, language: str, text: str) -> str:
    voice = espeak_voice(card, language, text)
    if voice is None:
        raise VoiceUnavailable(f"the preview engine has no voice for {language!r}", "choose another language")
    return voice


def _no_voice(voice: str) -> VoiceUnavailable:
    return VoiceUnavailable(
        f"the installed espeak-ng has no voice {voice!r}",
        "choose another language, or another voice in the card's [preview.espeak_voices]",
    )
