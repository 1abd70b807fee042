"""Receives one job's entries: collects and measures its chunks, and writes them to a file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from schemas.errors import MakimaError
from schemas.messages import Audio, Begin, Cancelled, Complete, Error
from schemas.wire import Entry
from worker.audio.decode import decode
from worker.audio.edges import first_audible
from worker.audio.encode import bytes_per_sample
from worker.stream.client import TERMINAL, Client


class NothingReceived(MakimaError):
    """No entry arrived in time."""


@dataclass(slots=True)
class ReceivedAudio:
    """The audio of one job. Samples that a take-over repeats are dropped by their `pos`."""

    began_at: float = field(default_factory=monotonic)
    begin: Begin | None = None
    end: Complete | Cancelled | Error | None = None
    data: bytearray = field(default_factory=bytearray)
    n_chunks: int = 0
    first_audible_s: float | None = None

    def add(self, message: object) -> bytes:
        """Add a message and return the bytes that are new."""
        if isinstance(message, Begin):
            self.begin = message
        elif isinstance(message, (Complete, Cancelled, Error)):
            self.end = message
        elif isinstance(message, Audio):
            return self._add_chunk(message)
        return b""

    def _add_chunk(self, chunk: Audio) -> bytes:
        n_samples = len(self.data) // self._sample_bytes
        fresh = chunk.data[max(0, n_samples - chunk.pos) * self._sample_bytes :]
        self.data += fresh
        self.n_chunks += 1
        if self.first_audible_s is None and first_audible(decode(self._encoding, fresh)) is not None:
            self.first_audible_s = monotonic() - self.began_at
        return fresh

    @property
    def _encoding(self) -> str:
        return self.begin.encoding if self.begin else "pcm_s16le"

    @property
    def _sample_bytes(self) -> int:
        return bytes_per_sample(self._encoding)

    @property
    def sample_rate(self) -> int:
        return self.begin.sample_rate if self.begin else 24_000

    @property
    def pcm(self) -> NDArray[np.float32]:
        """All samples so far, float32 [n]."""
        return decode(self._encoding, bytes(self.data))

    def write_wav(self, path: Path) -> None:
        """Write 16-bit mono WAV. Raises OSError or soundfile.LibsndfileError."""
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, self.pcm, self.sample_rate, subtype="PCM_16", format="WAV")

    def figures(self) -> dict[str, Any]:
        """Seconds and counts as measured here. rtf: real-time factor, or None without audio."""
        wall_s = monotonic() - self.began_at
        audio_s = len(self.data) / self._sample_bytes / self.sample_rate
        return {
            "first_audible_s": self.first_audible_s,
            "audio_s": audio_s,
            "wall_s": wall_s,
            "rtf": wall_s / audio_s if audio_s else None,
            "chunks": self.n_chunks,
        }


async def follow(
    client: Client,
    session_id: str,
    entry_id: str,
    timeout_s: float,
    may_pause: Callable[[], bool] = lambda: False,
) -> AsyncIterator[Entry]:
    """The entries of one job up to the terminal one.

    Raises NothingReceived after timeout_s without an entry, unless may_pause returns True then.
    """
    after = "0"
    while True:
        entries = client.listen(session_id, after)
        try:
            while True:
                async with asyncio.timeout(timeout_s):
                    after, entry = await anext(entries)
                if entry.entry == entry_id:
                    yield entry
                    if entry.type in TERMINAL:
                        return
        except TimeoutError:
            if not may_pause():
                raise NothingReceived(
                    f"no entry for {timeout_s:.0f} s", "check that a worker runs: makima-tts queue status"
                ) from None
        finally:
            await entries.aclose()  # type: ignore[attr-defined]
