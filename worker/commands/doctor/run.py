"""`doctor`: checks what is installed, reachable and fast enough, and prints remedies.

Every check has its own time-out. Nothing is changed, but the Lua scripts are loaded into Redis' cache, as every worker
does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict

from rich.console import Console
from rich.text import Text

from worker.commands.doctor.findings import Finding, State, ok, warn
from worker.commands.doctor.installed import check_base, check_preview, check_python, check_tracing
from worker.commands.doctor.qwen import check_qwen
from worker.commands.doctor.redis import check_redis
from worker.commands.doctor.speech import check_engine, check_speed, check_voices
from worker.settings import Settings, unknown_keys, without_password

STYLES = {State.OK: "green", State.WARN: "yellow", State.FAIL: "red"}
WHAT_WIDTH = 26


def doctor(settings: Settings, as_json: bool) -> int:
    """Print every finding; 1 when one of them is a failure, 0 otherwise."""
    findings = []
    console = Console(highlight=False)
    for finding in examine(settings):
        shown = Finding(finding.what, finding.state, without_password(finding.detail), without_password(finding.remedy))
        findings.append(shown)
        if not as_json:
            _print(console, shown)
    n_failed = sum(finding.state is State.FAIL for finding in findings)
    n_warned = sum(finding.state is State.WARN for finding in findings)
    if as_json:
        print(json.dumps({"ok": not n_failed, "findings": [asdict(finding) for finding in findings]}))
    else:
        console.print(f"{len(findings)} checks, {n_failed} failed, {n_warned} warnings")
    return 1 if n_failed else 0


def examine(settings: Settings) -> Iterator[Finding]:
    """Run the checks in order and yield each finding at once."""
    yield check_python()
    yield from check_base()
    yield from check_preview(settings)
    yield from check_qwen(settings)
    yield from _check_keys()
    yield from check_tracing()
    yield from check_voices(settings)
    yield from check_engine(settings)
    yield from check_speed(settings)
    yield from check_redis(settings)


def _check_keys() -> Iterator[Finding]:
    ignored = unknown_keys()
    for error in ignored:
        yield warn("settings", error.problem, error.remedy)
    if not ignored:
        yield ok("settings", "every MAKIMA_TTS_* variable is a known setting")


def _print(console: Console, finding: Finding) -> None:
    line = Text(f"{finding.state:<5}", style=STYLES[finding.state])
    line.append(f"{finding.what:<{WHAT_WIDTH}} {finding.detail}", style="default")
    console.print(line, soft_wrap=True)
    if finding.remedy:
        console.print(Text(f"{'':5}{'':{WHAT_WIDTH}} -> {finding.remedy}"), soft_wrap=True)
