"""A run's figures: as a dict for a file, and as the table that is printed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from tests.chaos.hearing import Findings
from tests.chaos.ledger import Ledger

FAULTS = (
    "kills", "heirs_killed", "stops", "hiccups", "restarts", "pauses", "flushes", "groups_destroyed",
    "clients_killed", "delays", "blackholes", "cuts", "cuts_after_request",
)  # fmt: skip
N_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Run:
    """A run that is over. left_behind: what `check_left_behind` found. takeovers_ms: how long each take-over took."""

    setup: str
    engine: str
    seed: int
    duration_s: float
    ledger: Ledger
    findings: Findings
    left_behind: Sequence[str] = ()
    takeovers_ms: Sequence[float] = ()

    @property
    def violations(self) -> list[str]:
        return self.findings.violations + [f"left behind: {what}" for what in self.left_behind]


def figures(run: Run) -> dict[str, Any]:
    """Everything of a run that can be told in numbers, and its violations; fit for JSON."""
    found = run.findings
    return {
        "setup": run.setup,
        "engine": run.engine,
        "seed": run.seed,
        "duration_s": round(run.duration_s, 1),
        "jobs": found.n_jobs,
        "sessions": found.n_sessions,
        "complete": found.n_complete,
        "cancelled": found.n_cancelled,
        "refused": found.n_refused,
        **dict.fromkeys(FAULTS, 0),
        **run.ledger.faults,
        "takeovers": found.takeovers,
        "reopened": found.reopened,
        "takeover_ms_p50": percentile(run.takeovers_ms, 0.50),
        "takeover_ms_p95": percentile(run.takeovers_ms, 0.95),
        "takeover_ms_max": percentile(run.takeovers_ms, 1.0),
        **{kind: len(sentences) for kind, sentences in found.kinds.items()},
        "left_behind": len(run.left_behind),
        "violations": run.violations,
    }


def table(run: Run) -> str:
    """The figures, one a line, and the first violations."""
    rows = {name.replace("_", " "): value for name, value in figures(run).items() if name != "violations"}
    width, n_digits = max(map(len, rows)), max(len(_shown(value)) for value in rows.values())
    lines = [f"{name:<{width}}  {_shown(value):>{n_digits}}" for name, value in rows.items()]
    violations = run.violations
    if len(violations) > N_SHOWN:
        violations = [*violations[:N_SHOWN], f"and {len(violations) - N_SHOWN} more"]
    return "\n".join([*lines, "", *(violations or ["nothing is wrong"])])


def percentile(values: Sequence[float], share: float) -> int | None:
    """The least value that this share of all values does not exceed, rounded; None of no values."""
    if not values:
        return None
    return round(sorted(values)[max(0, ceil(share * len(values)) - 1)])


def _shown(value: object) -> str:
    return "-" if value is None else str(value)
