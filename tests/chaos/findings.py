"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

Kind = Literal["lost", "duplicated", "gaps", "wrong", "broken", "ahead", "workers_ended_by_themselves"]


@dataclass(slots=True)
class Findings:
    """Violations by kind, each `session job: what`, and what was counted.

    lost: published, and not spoken to its end. duplicated: heard twice. gaps: something between two entries is missing.
    wrong: other samples or segments than undisturbed. broken: every other rule. ahead: made further ahead of a listener
    than the job allows. excepted: how jobs ended that were to end well and may fail, for their own keys were damaged,
    each with the reason. excepted_orders: jobs overtaken when the driver had deleted `waiting`. takeovers: begins of
    another attempt. takeovers_of_held: those of speech that rested, far enough ahead of its listener. reopened: begins
    of the same one, after a cancel that was not its own or a reply that was lost. repeated: copies of an end, for a job
    published again. n_refused: jobs that ended with the error they were to end with. n_silent: those of n_complete with
    nothing to speak. n_open: jobs with an open text. n_stalled: those that ended because their text did not go on.
    most_ahead_s: the largest lead at which more was written, where a limit was set. far_ahead: what `ahead` is chosen
    from, each with its `at`. reserved: from when to when a suspected poison job perhaps waited on some worker, by the
    sessions' clock.
    """

    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    ahead: list[str] = field(default_factory=list)
    far_ahead: list[tuple[int, str]] = field(default_factory=list)
    reserved: list[tuple[int, int]] = field(default_factory=list)
    workers_ended_by_themselves: list[str] = field(default_factory=list)
    excepted: list[str] = field(default_factory=list)
    excepted_orders: list[str] = field(default_factory=list)
    n_sessions: int = 0
    n_jobs: int = 0
    n_complete: int = 0
    n_silent: int = 0
    n_cancelled: int = 0
    n_refused: int = 0
    n_open: int = 0
    n_stalled: int = 0
    most_ahead_s: float = 0.0
    takeovers: int = 0
    takeovers_of_held: int = 0
    repeated: int = 0
    reopened: int = 0

    @property
    def n_hurried(self) -> int:
        """Chunks that were written further ahead than their jobs allow while perhaps a suspect waited."""
        return sum(self._is_reserved(at_ms) for at_ms, _ in self.far_ahead)

    def judge_far_ahead(self, is_damaged: bool) -> None:
        """Once all sessions are read: a worker on which a suspected poison job waits holds no speech.

        is_damaged: clocks were set, or jobs were spoilt, of which it is not known when they waited.
        """
        if not is_damaged:
            self.ahead += [what for at_ms, what in self.far_ahead if not self._is_reserved(at_ms)]

    def _is_reserved(self, at_ms: int) -> bool:
        return any(first <= at_ms <= last for first, last in self.reserved)

    @property
    def kinds(self) -> dict[Kind, list[str]]:
        return {kind: getattr(self, kind) for kind in get_args(Kind)}

    @property
    def violations(self) -> list[str]:
        return [f"{kind}: {sentence}" for kind, sentences in self.kinds.items() for sentence in sentences]
