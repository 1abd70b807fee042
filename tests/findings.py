"""Doctor's findings as tests compare them."""

from __future__ import annotations

from collections.abc import Iterator

from worker.commands.doctor.findings import Finding

NOBODY_THERE = "redis://127.0.0.1:1/0"


def by_name(findings: Iterator[Finding] | list[Finding]) -> dict[str, Finding]:
    return {finding.what: finding for finding in findings}


def states(findings: Iterator[Finding] | list[Finding]) -> dict[str, str]:
    return {finding.what: finding.state for finding in findings}
