"""Open texts: in which pieces they are written and when, and what Redis acknowledged of each.

Pieces are cut anywhere, also within a character; some come before the job, some ends come late or not at all.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

BAD = 0.03  # is bad in one place
FLUSHED, DIES, GOES_ON, SHARED, CARELESS = 0.3, 0.06, 0.15, 0.5, 0.3  # the share of the texts
SIZES_BYTES = ((1, 7), (5, 60), (40, 400))  # of a text's pieces
PAUSES_S = ((0.005, 0.04), (0.02, 0.4), (0.1, 1.2))  # before a piece
LATE_S = 1.5  # an end of its own, at most
AFTER_END = ({b"text": b" This is too late."}, {b"flush": b"1"}, {b"end": b"1"})
BAD_FIELDS = ({b"text": b"\xff"}, {b"flush": b"yes"}, {b"end": b"2"})
UNKNOWN = {b"colour": b"blue"}  # as another release may write
STALLED_MARGIN_S = 0.3  # between two clocks and a poll

Fields = Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Piece:
    """An entry of a text's stream, written `after_s` seconds after the one before."""

    after_s: float
    fields: Fields


@dataclass(frozen=True, slots=True)
class Script:
    """All that is to be written of a text. n_before: how many pieces precede the job. waits: until a replica has each
    piece, where a fail-over loses what it has not.
    """

    pieces: Sequence[Piece]
    n_before: int
    waits: bool = True

    @property
    def has_end(self) -> bool:
        return any(b"end" in piece.fields for piece in self.pieces)


@dataclass(slots=True)
class Writing:
    """What was written of a text so far. began_s: monotonic seconds of its job's publication.

    acknowledged: with the monotonic seconds before and after each XADD.
    """

    script: Script
    began_s: float = 0.0
    acknowledged: list[tuple[Fields, float, float]] = field(default_factory=list)

    @property
    def counting(self) -> Iterator[Fields]:
        """The entries up to the end, the end included."""
        for fields, *_ in self.acknowledged:
            yield fields
            if b"end" in fields:
                return

    @property
    def is_bad(self) -> bool:
        """Whether it has an entry that ends the job with an error."""
        return any(bad.items() <= fields.items() for fields in self.counting for bad in BAD_FIELDS)

    @property
    def has_ended(self) -> bool:
        return any(b"end" in fields for fields in self.counting)

    @property
    def parts(self) -> tuple[str, ...]:
        """The text, cut where it was flushed, without half a character where its producer died."""
        parts = [b""]
        for fields in self.counting:
            parts[-1] += fields.get(b"text", b"")
            if b"flush" in fields:
                parts.append(b"")
        return tuple(part.decode(errors="ignore") for part in parts)

    def may_stall(self, wait_s: float) -> bool:
        """Whether some entry came so late that a worker may have given the text up, or none came any more."""
        times = [(self.began_s, self.began_s), *((before_s, after_s) for _, before_s, after_s in self.acknowledged)]
        longest_s = max((after_s - before_s for (before_s, _), (_, after_s) in pairwise(times)), default=0.0)
        return not self.has_ended or longest_s > wait_s - STALLED_MARGIN_S


def draw_script(draw: random.Random, text: str) -> Script:
    """Pieces of this text, flushes and an end, in one of several tempos."""
    data = text.encode()
    sizes, pauses_s = draw.choice(SIZES_BYTES), draw.choice(PAUSES_S)
    cuts = {0, len(data)}
    while (at := max(cuts - {len(data)}) + draw.randint(*sizes)) < len(data):
        cuts.add(at)
    flushes = _draw_flushes(draw, text) if draw.random() < FLUSHED else set()
    pieces = []
    for first, last in pairwise(sorted(cuts | flushes)):
        entry = {b"text": data[first:last]} | (UNKNOWN if draw.random() < 0.05 else {})
        is_shared = draw.random() < SHARED
        if last in flushes and is_shared:
            entry[b"flush"] = b"1"
        pieces.append(Piece(draw.uniform(*pauses_s), entry))
        if last in flushes and not is_shared:
            pieces.append(Piece(draw.uniform(*pauses_s), {b"flush": b"1"}))
    if draw.random() < BAD:
        pieces.insert(draw.randint(0, len(pieces)), Piece(draw.uniform(*pauses_s), draw.choice(BAD_FIELDS)))
    pieces = _with_end(draw, pieces)
    n_before = min(len(pieces), draw.choice((0, 0, 1, draw.randint(0, len(pieces)))))
    return Script(pieces, n_before, waits=draw.random() >= CARELESS)


def _draw_flushes(draw: random.Random, text: str) -> set[int]:
    """One to three places in bytes, between two characters."""
    return {len(text[: draw.randint(0, len(text))].encode()) for _ in range(draw.randint(1, 3))} - {0}


def _with_end(draw: random.Random, pieces: list[Piece]) -> list[Piece]:
    if draw.random() < DIES:
        return pieces[: draw.randint(0, len(pieces))]
    if draw.random() < SHARED:
        last = pieces[-1]
        pieces = [*pieces[:-1], Piece(last.after_s, {**last.fields, b"end": b"1"})]
    else:
        pieces = [*pieces, Piece(draw.uniform(0, LATE_S), {b"end": b"1"})]
    if draw.random() < GOES_ON:
        pieces += [Piece(draw.uniform(0, 0.3), fields) for fields in AFTER_END]
    return pieces
