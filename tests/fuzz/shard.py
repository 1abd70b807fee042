"""What a child process is told to parse, and what it tells of it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Shard:
    """Inputs `first` to `last` of a series that is the same for the same target, seed and number.

    replay: base64 of the one input to parse instead.
    """

    place: str
    seed: str
    number: int
    first: int
    last: int
    replay: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """What was wrong, where, and the input (base64) that showed it."""

    place: str
    kind: str
    what: str
    where: str
    input: str


@dataclass(slots=True)
class Tally:
    """What became of a shard."""

    place: str
    n_inputs: int = 0
    n_accepted: int = 0
    n_kept: int = 0
    n_lines: int = 0
    seconds: float = 0.0
    slowest_s: float = 0.0
    most_mib: float = 0.0
    findings: list[Finding] = field(default_factory=list)
