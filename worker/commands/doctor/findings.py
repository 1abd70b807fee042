"""A finding of `doctor`: what was checked, its state, detail and remedy."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    OK = "ok"
    WARN = "warn"  # it works, but not as it should in production
    FAIL = "fail"  # a worker with these settings cannot serve


@dataclass(frozen=True, slots=True)
class Finding:
    """One row of the report. remedy: "" when nothing has to be done."""

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
    """The finding, or its detail as OK when it is fine."""
    return ok(finding.what, finding.detail) if is_fine else finding
