"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

Kind = Literal["lost", "duplicated", "gaps", "wrong", "broken", "workers_ended_by_themselves"]


@dataclass(slots=True)
class Findings:
    """Violations by kind, each `session job: what`, and what was counted.

    lost: published, and not spoken to its end. duplicated: heard twice. gaps: something between two entries is missing.
    wrong: other samples than undisturbed. broken: every other rule. excepted: how jobs ended that were to end well and
    may fail, for their own keys were damaged, each with the reason. excepted_orders: jobs overtaken when the
    driver had deleted `waiting`. takeovers: begins of another attempt. reopened: begins of the same one, after a cancel
    that was not its own or a reply that was lost. repeated: copies of an end, for a job published again. n_refused:
    jobs that ended with the error they were to end with. n_silent: those of n_complete with nothing to speak.
    """

    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    workers_ended_by_themselves: list[str] = field(default_factory=list)
    excepted: list[str] = field(default_factory=list)
    excepted_orders: list[str] = field(default_factory=list)
    n_sessions: int = 0
    n_jobs: int = 0
    n_complete: int = 0
    n_silent: int = 0
    n_cancelled: int = 0
    n_refused: int = 0
    takeovers: int = 0
    repeated: int = 0
    reopened: int = 0

    @property
    def kinds(self) -> dict[Kind, list[str]]:
        return {kind: getattr(self, kind) for kind in get_args(Kind)}

    @property
    def violations(self) -> list[str]:
        return [f"{kind}: {sentence}" for kind, sentences in self.kinds.items() for sentence in sentences]
