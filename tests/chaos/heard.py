"""One job as its session heard it so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from schemas.messages import Audio, Begin
from schemas.wire import Entry
from tests.chaos.lead import Lead
from tests.chaos.ledger import Published
from tests.chaos.plan import AHEAD_MS
from tests.chaos.segments import Segments

DEFAULTS = {"encoding": "pcm_s16le", "sample_rate": "24000"}
SAMPLE_TYPES = {"pcm_s16le": "<i2", "pcm_f32le": "<f4"}  # every other encoding has a byte a sample


@dataclass(slots=True)
class Heard:
    """One job as its session heard it so far. n_frames: of each segment, those whose codes were heard. repeats: entries
    that published it again and were answered by a copy of its end. last_at: of its newest entry, in ms.
    """

    job: Published
    begins: list[Begin] = field(default_factory=list)
    chunks: list[Entry] = field(default_factory=list)
    end: Entry | None = None
    end_body: bytes = b""
    repeats: set[str] = field(default_factory=set)
    entry_id: str = ""
    delivered: int = 0
    next_seq: int = 0
    n_frames: dict[int, int] = field(default_factory=dict)
    segments: Segments = field(default_factory=Segments)
    lead: Lead = field(default_factory=Lead)
    last_at: int = 0

    def __post_init__(self) -> None:
        self.last_at = numbers_of(self.job.entry_id)[0]

    def asked(self, name: str, default: str) -> str:
        return self.job.fields.get(name, default)

    @property
    def limit_s(self) -> float:
        """How far ahead of its listener it may be made; 0 where there is no limit."""
        return int(self.asked("ahead_ms", str(AHEAD_MS))) / 1000

    @property
    def is_held(self) -> bool:
        """Whether its newest chunk was the last one for a while."""
        return 0 < self.limit_s <= self.lead.after_s

    def was_fruitless(self, begin: Begin) -> bool:
        """Whether an attempt before this one brought no sample, so that this one perhaps waited as a suspect."""
        if not self.begins:
            return begin.attempt > 1
        last = self.begins[-1]
        return self.delivered == last.resumed_at or begin.attempt > last.attempt + 1

    @property
    def sample_type(self) -> np.dtype[Any]:
        return np.dtype(SAMPLE_TYPES.get(self.asked("encoding", DEFAULTS["encoding"]), "u1"))

    @property
    def data(self) -> bytes:
        return b"".join(audio_of(chunk).data for chunk in self.chunks)


def difference(heard: bytes, expected: bytes, sample_type: np.dtype[Any]) -> str:
    """How far what was heard is from what was expected, in a sentence."""
    mine, its = (np.frombuffer(data, sample_type, len(data) // sample_type.itemsize) for data in (heard, expected))
    n = min(len(mine), len(its))
    off = np.flatnonzero(mine[:n] != its[:n])
    if not len(off):
        return f"{len(mine)} samples were heard, undisturbed there are {len(its)}"
    most = np.abs(mine[off].astype(np.float64) - its[off].astype(np.float64)).max()
    where = f"from sample {off[0]} to {off[-1]}, by at most {most:g}"
    return f"{len(off)} of {len(mine)} samples differ, {where}; undisturbed there are {len(its)}"


def audio_of(entry: Entry) -> Audio:
    assert isinstance(entry.message, Audio)
    return entry.message


def numbers_of(entry_id: str) -> tuple[int, int]:
    ms, _, seq = entry_id.partition("-")
    return int(ms), int(seq or 0)


def id_of(numbers: tuple[int, int]) -> str:
    return f"{numbers[0]}-{numbers[1]}"
