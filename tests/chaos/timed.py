"""One recorded stream, parsed into utterances with the arrival times of their entries."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from schemas.messages import TERMINAL_TYPES, Audio, Begin
from schemas.wire import read_entry, unpack_codes
from tests.chaos.playback import Chunk, Playback, play
from tests.chaos.recorder import Heard


@dataclass(frozen=True, slots=True)
class TimedChunk:
    """An audio entry. epoch_ms: of the attempt that wrote it."""

    at_s: float
    epoch_ms: int
    n_samples: int
    segment: int
    is_final: bool


@dataclass(slots=True)
class Timed:
    """One utterance. attempts: begin.attempt of each of its begins. arrivals_s: of all its entries, ends included."""

    session_id: str
    entry_id: str
    rate_hz: int = 0
    attempts: list[int] = field(default_factory=list)
    chunks: list[TimedChunk] = field(default_factory=list)
    arrivals_s: list[float] = field(default_factory=list)
    has_ended: bool = False

    @property
    def longest_pause_s(self) -> float:
        """Between two entries that follow one another, from the first begin to the end."""
        return max((after - before for before, after in pairwise(self.arrivals_s)), default=0.0)

    def first_of_a_newer_epoch(self, epoch_ms: int) -> TimedChunk | None:
        return next((chunk for chunk in self.chunks if chunk.epoch_ms > epoch_ms), None)

    def was_spoken_whole(self, epoch_ms: int) -> bool:
        """True when its final chunk is of that epoch or an earlier one."""
        return any(chunk.is_final and chunk.epoch_ms <= epoch_ms for chunk in self.chunks)

    def played(self) -> Playback:
        """As a listener plays it. Raises ValueError before the first chunk."""
        chunks: list[Chunk] = [(chunk.at_s, chunk.n_samples) for chunk in self.chunks]
        return play(chunks, self.rate_hz)


def read_timed(session_id: str, heard: Iterable[Heard]) -> dict[str, Timed]:
    """A session's utterances by entry id. What a client wrote itself, and types not known, are skipped."""
    utterances: dict[str, Timed] = {}
    for stream_id, fields, at_s in heard:
        entry = read_entry(fields)
        if entry.message is None:
            continue
        one = utterances.setdefault(entry.entry, Timed(session_id, entry.entry))
        one.arrivals_s.append(at_s)
        if isinstance(entry.message, Begin):
            one.rate_hz = entry.message.sample_rate
            one.attempts.append(entry.message.attempt)
        elif isinstance(entry.message, Audio):
            n_samples = entry.delivered - entry.message.pos
            segment = unpack_codes(entry.codes)[0] if entry.codes else 0
            one.chunks.append(TimedChunk(at_s, epoch_ms_of(stream_id), n_samples, segment, entry.message.is_final))
        one.has_ended = one.has_ended or entry.type in TERMINAL_TYPES
    return utterances


def epoch_ms_of(stream_id: bytes) -> int:
    return int(stream_id.partition(b"-")[0])
