"""Progress: what earlier attempts delivered on the session's stream. The checkpoint of a take-over."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from schemas.errors import WireError
from schemas.messages import Audio, Begin, SegmentStart
from schemas.wire import read_entry, unpack_codes
from worker.engine.base import N_CODEBOOKS, N_CODES
from worker.stream.transport.base import Link

PAGE = 8  # entries; one holds up to 256 KiB of audio


@dataclass(frozen=True, slots=True)
class DeliveredChunk:
    """One chunk on the stream. codes: [n, 16] uint16 of the segment's frames from first_frame; n = 0 without codes."""

    segment: int
    first_frame: int
    codes: NDArray[np.uint16]
    n_bytes: int


@dataclass(frozen=True, slots=True)
class Progress:
    """A job's delivered chunks, in order. next_seq: number of the next chunk.

    began_ms: epoch of the job's first `begin` on the stream, or None. is_whole: the final chunk is there; only the
    terminal entry is missing. computed_on: from the `begin` of each attempt that delivered samples; None stands for a
    `begin` without the field or one that was trimmed. segments: index -> text of the segments that began, where they
    have an entry. traceparent: of the newest `begin`.
    """

    next_seq: int = 0
    chunks: tuple[DeliveredChunk, ...] = ()
    began_ms: int | None = None
    is_whole: bool = False
    computed_on: frozenset[str | None] = frozenset()
    segments: dict[int, str] = field(default_factory=dict)
    traceparent: str | None = None

    def codes_of(self, segment: int) -> NDArray[np.uint16] | None:
        """[n, 16] delivered codes of a segment from its first frame; None when some are missing.

        No codes at all: an empty array for a segment not begun, None for one before the last chunk's (trimmed).
        """
        parts: list[NDArray[np.uint16]] = []
        n = 0
        for chunk in self.chunks:
            if chunk.segment == segment:
                if chunk.first_frame != n:
                    return None
                parts.append(chunk.codes)
                n += len(chunk.codes)
        if parts:
            return np.concatenate(parts)
        return None if self.chunks and segment < self.chunks[-1].segment else np.zeros((0, N_CODEBOOKS), np.uint16)

    def resumed_by(self, has_codes: bool) -> str:
        """How an engine resumes: "codes" when the codes of every segment are complete, else "regenerated"."""
        n_segments = self.chunks[-1].segment + 1 if self.chunks else 0
        is_whole = n_segments and all(self.codes_of(segment) is not None for segment in range(n_segments))
        return "codes" if has_codes and is_whole else "regenerated"


async def read_progress(link: Link, audio_key: str, entry_id: str) -> Progress:
    """Read a job's entries backwards from the stream's end to its first `begin`.

    Other entries (cancels, by accident another job's) are skipped unread.
    """
    chunks: list[DeliveredChunk] = []
    next_seq, began_ms, is_whole, upper = 0, None, False, "+"
    ours, is_first, has_samples = entry_id.encode(), False, False
    computed_on: set[str | None] = set()
    segments: dict[int, str] = {}
    traceparent: str | None = None
    while not is_first:
        page = await link.call("XREVRANGE", audio_key, upper, "-", "COUNT", PAGE)
        for stream_id, flat in page:
            upper = "(" + stream_id.decode()
            fields = dict(zip(flat[::2], flat[1::2], strict=True))
            if fields.get(b"entry") != ours:
                continue
            entry = read_entry(fields)
            if isinstance(entry.message, Begin):
                computed_on |= {entry.message.computed_on} if has_samples else set()
                has_samples = False
                traceparent = entry.message.traceparent if began_ms is None else traceparent
                began_ms = int(stream_id.partition(b"-")[0])
                is_first = entry.delivered == 0
            elif isinstance(entry.message, Audio):
                next_seq = max(next_seq, entry.message.seq + 1)
                is_whole = is_whole or entry.message.is_final
                has_samples = has_samples or bool(entry.message.data)
                if entry.codes:
                    chunks.append(_chunk(entry.codes, len(entry.message.data)))
            elif isinstance(entry.message, SegmentStart):
                segments.setdefault(entry.message.index, entry.message.text)
        if len(page) < PAGE:
            break
    if not is_first:  # trimmed
        computed_on.add(None)
    return Progress(
        next_seq, tuple(reversed(chunks)), began_ms, is_whole, frozenset(computed_on), segments, traceparent
    )


def _chunk(raw: bytes, n_bytes: int) -> DeliveredChunk:
    segment, first_frame, packed = unpack_codes(raw)
    codes = np.frombuffer(packed, "<u2").reshape(-1, N_CODEBOOKS)
    if codes.max(initial=0) >= N_CODES:
        raise WireError(f"codes up to {codes.max()} of segment {segment}; the largest is {N_CODES - 1}")
    return DeliveredChunk(segment, first_frame, codes, n_bytes)
