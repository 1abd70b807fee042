"""The interface between the preview engine and what synthesises for it."""

from __future__ import annotations

import select
from collections.abc import Iterable
from typing import Protocol

from worker.engine.base import Segment
from worker.voices.card import Card


class SampleStream(Protocol):
    """The int16 samples of one segment, read while they are made."""

    @property
    def ended(self) -> bool:
        """True when every sample was read."""

    @property
    def rate_hz(self) -> int:
        """Samples a second."""

    def fileno(self) -> int:
        """A file descriptor that is readable when `read` has something to return or to raise."""

    def read(self) -> bytes:
        """Return the next bytes, or none when there are none yet or no more. Never blocks.

        Raises VoiceUnavailable, EngineError.
        """

    def close(self) -> None:
        """End the synthesis. Samples that were not read are lost. Safe to call twice."""


class Synthesiser(Protocol):
    """Makes the same samples of the same segment in every process, and any number of segments at once."""

    @property
    def name(self) -> str: ...

    @property
    def packages(self) -> tuple[str, ...]:
        """The packages whose versions the samples depend on."""

    def model(self, segment: Segment) -> str:
        """What speaks this segment, such as "espeak-ng"; the same in every process with the same packages."""

    def check(self, voice: Card, language: str) -> None:
        """Return when the voice can be spoken in this language. Raises VoiceUnavailable, EngineError."""

    def check_installed(self) -> None:
        """Return when the synthesiser itself works. Raises EngineError."""

    def warm_up(self, languages: set[str]) -> None:
        """Start loading what speaks these languages, and return at once. Raises EngineError."""

    def wait_until_ready(self) -> None:
        """Wait until what was loaded can begin at once; for a while only, and without an error."""

    def begin(self, segment: Segment) -> SampleStream:
        """Begin to synthesise; the caller closes the stream. Raises VoiceUnavailable, EngineError.

        What needs time to find out is raised by the stream's `read`.
        """

    def close(self) -> None:
        """Free everything. Safe to call twice."""


def wait_for_samples(streams: Iterable[SampleStream], timeout_s: float) -> None:
    """Block until one of these streams is readable, at most `timeout_s`."""
    waiting = select.poll()
    for stream in streams:
        waiting.register(stream.fileno(), select.POLLIN)
    waiting.poll(timeout_s * 1000)
