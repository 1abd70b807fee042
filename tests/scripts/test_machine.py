"""Random schedules on both planes keep every law, and the same schedules find broken scripts.

More of them: HYPOTHESIS_PROFILE=long pytest tests/scripts/test_machine.py (about ten minutes).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from hashlib import sha1

import pytest
import redis
from hypothesis import HealthCheck, Phase, settings
from hypothesis.errors import FlakyFailure
from hypothesis.stateful import run_state_machine_as_test

from tests.scripts.listener import Violation
from tests.scripts.machine import Schedules
from tests.scripts.plane import SCRIPTS, Plane
from worker.stream.scripts import Script

PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "default")
N_SCHEDULES = 2000 if PROFILE == "long" else 60
USUAL = settings(
    max_examples=N_SCHEDULES,
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("with_accidents", [False, True], ids=["no accidents", "accidents"])
def test_any_schedule_keeps_the_contract(plane: Plane, with_accidents: bool) -> None:
    run_schedules(plane, with_accidents, USUAL)


def run_schedules(plane: Plane, with_accidents: bool, how: settings) -> None:
    run_state_machine_as_test(lambda: Schedules(plane, with_accidents), settings=how)  # type: ignore[arg-type]


def broken(name: str, text: str, replacement: str) -> Mapping[str, Script]:
    """The scripts, one of them changed; name: of the script."""
    script = SCRIPTS[name]
    assert text in script.source
    source = script.source.replace(text, replacement)
    return {**SCRIPTS, name: Script(name, source, sha1(source.encode(), usedforsecurity=False).hexdigest())}


# ARGV[7] is the first ID: of the segment's entry, where there is one. Redis itself would refuse it.
BLINDLY = "if not last then return { 'GONE' } end if pad(ARGV[7]) <= pad(last) then ARGV[7], ARGV[chunk] = '*', '*' end"
ALWAYS_YES = "if true then return true end"
BREAKS = {
    "append without its comparison": (
        "append",
        "if last ~= before then return not_appended(id, last, at) end",
        BLINDLY,
    ),
    "a segment's entry alone": (
        "append",
        "hint(add(ARGV, chunk))",
        "if chunk == 7 then add(ARGV, 7) end",
    ),
    "begin without its fence": ("begin", "record.fence > tonumber(fence)", "false"),
    "end without its mark": ("end", "if record.kind then", "if false then"),
    "every entry may run": ("claim", "if named and is_live(sid, named) then\n", f"{ALWAYS_YES}\n  if false then\n"),
    "the gate is not passed on": ("settle", "then pass_gate_on(sid) end", "then end"),
    "duplicates are spoken": ("claim", "local first = first_of(sid, id, fields)", "local first = nil"),
    "cuts are not looked at": ("begin", "if is_cancelled(id) then", "if false then"),
    "delivered samples are forgotten": ("begin", "if record.has_begun then delivered =", "if false then delivered ="),
    "the stream is kept for ever": ("begin", "renew_ttl(audio)", ""),
    "the sweep keeps old counts": ("sweep", "  redis.call('HDEL', attempts, id)\n", ""),
}
RARELY_SEEN = {
    "complete anywhere": ("end", "if kind == 'complete' and not is_tail then", "if false then"),
    "released jobs are lost": ("settle", "    make_ready(id)\n", ""),
    "the sweep hands no gate on": (
        "sweep",
        "    pass_gate_on(sid)\n  end\nend\n\nlocal function sweep_attempt",
        "  end\nend\n\nlocal function sweep_attempt",
    ),
    "the sweep makes nothing ready": ("sweep", "if not is_ready(id) then make_ready(id) end", ""),
}
TRIED = BREAKS | (RARELY_SEEN if PROFILE == "long" else {})


@pytest.mark.timeout(600)
@pytest.mark.parametrize("how", TRIED)
def test_a_broken_script_is_found_out(valkey_client: redis.Redis, how: str) -> None:
    name, text, replacement = TRIED[how]
    plane = Plane(valkey_client, broken(name, text, replacement))
    searching = settings(
        USUAL,
        max_examples=2000,
        phases=[Phase.generate],
        derandomize=True,
        database=None,
        report_multiple_bugs=False,
    )
    with pytest.raises((Violation, FlakyFailure)) as found:  # flaky: what Redis' clock has a part in
        run_schedules(plane, name == "sweep", searching)
    for error in getattr(found.value, "exceptions", [found.value]):
        assert isinstance(error, Violation)
