"""What `doctor` found: rows of what, state, detail and remedy."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    OK = "ok"
    WARN = "warn"  # it works, but not as it should in production
    FAIL = "fail"  # a worker with these settings cannot serve


@dataclass(frozen=True, slots=True)
class Finding:
    """One row. remedy: what to do about it; empty when there is nothing to do."""

    what: str
    state: State
    detail: str
    remedy: str = ""


def ok(what: str, detail: str) -> Finding:
    return Finding(what, State.OK, detail)


def warn(what: str, detail: str, remedy: str) -> Finding:
    return Finding(what, State.WARN, detail, remedy)


def fail(what: str, detail: str, remedy: str) -> Finding:
    return Finding(what, State.FAIL, detail, remedy)


def unless(is_fine: bool, finding: Finding) -> Finding:
    """The finding, or the same detail as ok."""
    return ok(finding.what, finding.detail) if is_fine else finding
