"""A run's figures: as a dict for a file, and as the table that is printed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from tests.chaos.findings import Findings
from tests.chaos.ledger import Ledger

FAULTS = (
    "kills", "heirs_killed", "stops", "hiccups", "restarts", "pauses", "flushes", "groups_destroyed",
    "clients_killed", "delays", "blackholes", "cuts", "cuts_after_request",
)  # fmt: skip
DAMAGE = (
    "odd_members", "odd_records", "other_types", "keys_deleted", "exhausted", "odd_seen", "odd_job_fields",
    "odd_session_keys", "odd_entries", "odd_texts", "strangers", "tomorrows_doings", "latencies", "http_answers",
    "rights_taken", "clocks_set",
)  # fmt: skip
N_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Run:
    """A run that is over. left_behind: what `check_left_behind` found. takeovers_ms: how long each take-over took.
    skipped: a sentence for each kind of damage that could not be done here. hinted: what a relay with hints counted.
    """

    setup: str
    engine: str
    seed: int
    duration_s: float
    ledger: Ledger
    findings: Findings
    left_behind: Sequence[str] = ()
    takeovers_ms: Sequence[float] = ()
    has_damage: bool = False
    skipped: Sequence[str] = ()
    hinted: Mapping[str, int] = field(default_factory=dict)

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
        "silent": found.n_silent,
        "cancelled": found.n_cancelled,
        "refused": found.n_refused,
        "open_texts": found.n_open,
        "stalled": found.n_stalled,
        "excepted": len(found.excepted),
        "excepted_orders": len(found.excepted_orders),
        **dict.fromkeys(FAULTS + (DAMAGE if run.has_damage else ()), 0),
        **run.ledger.faults,
        "takeovers": found.takeovers,
        "takeovers_of_held": found.takeovers_of_held,
        "repeated": found.repeated,
        **run.hinted,
        "reopened": found.reopened,
        "hurried": found.n_hurried,
        "most_ahead_ms": round(1000 * found.most_ahead_s),
        "takeover_ms_p50": percentile(run.takeovers_ms, 0.50),
        "takeover_ms_p95": percentile(run.takeovers_ms, 0.95),
        "takeover_ms_max": percentile(run.takeovers_ms, 1.0),
        **{kind: len(sentences) for kind, sentences in found.kinds.items()},
        "left_behind": len(run.left_behind),
        "exceptions": list(found.excepted),
        "skipped": list(run.skipped),
        "violations": run.violations,
    }


def table(run: Run) -> str:
    """The figures, one a line, what was skipped, why jobs were excepted, and the first violations."""
    rows = {name.replace("_", " "): value for name, value in figures(run).items() if not isinstance(value, list)}
    width, n_digits = max(map(len, rows)), max(len(_shown(value)) for value in rows.values())
    lines = [f"{name:<{width}}  {_shown(value):>{n_digits}}" for name, value in rows.items()]
    violations = run.violations
    if len(violations) > N_SHOWN:
        violations = [*violations[:N_SHOWN], f"and {len(violations) - N_SHOWN} more"]
    said = [*(f"skipped: {what}" for what in run.skipped), *_reasons(run.findings.excepted)]
    return "\n".join([*lines, "", *said, *(violations or ["nothing is wrong"])])


def _reasons(excepted: Sequence[str]) -> list[str]:
    """How many jobs were excepted, and from what, for each reason."""
    counts = Counter(sentence.partition(": ")[2] for sentence in excepted)
    return [f"excepted: {n} {'job' if n == 1 else 'jobs'}: {what}" for what, n in sorted(counts.items())]


def percentile(values: Sequence[float], share: float) -> int | None:
    """The least value that this share of all values does not exceed, rounded; None of no values."""
    if not values:
        return None
    return round(sorted(values)[max(0, ceil(share * len(values)) - 1)])


def _shown(value: object) -> str:
    return "-" if value is None else str(value)
