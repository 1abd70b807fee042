"""The table shows violations."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from tests.chaos.findings import Findings
from tests.chaos.ledger import Ledger
from tests.chaos.table import Run, table

LEDGER = Ledger(faults=Counter(kills=52, eclipses=1))
CLEAN = Findings(n_sessions=130, n_jobs=412, n_complete=390, n_cancelled=20, n_refused=2, takeovers=48, reopened=3)
RUN = Run("valkey", "preview", 7, 240.04, LEDGER, CLEAN, takeovers_ms=[2301.5, 1900.2, 2600.0])


def _rows(printed: str) -> dict[str, str]:
    """Name and value of each line of the table's upper part."""
    lines = printed.partition("\n\n")[0].splitlines()
    assert len(set(map(len, lines))) == 1, "the values are aligned"
    return {name.strip(): value for name, value in (line.rsplit(maxsplit=1) for line in lines)}


def test_violations_are_counted_and_the_first_of_them_said() -> None:
    found = replace(CLEAN, lost=["s1 a: has not ended"], gaps=[f"s2 b: chunk {n} is missing" for n in range(30)])
    run = replace(RUN, findings=found, left_behind=["1 left in pending"])
    rows = _rows(table(run))
    assert (rows["lost"], rows["gaps"], rows["left behind"]) == ("1", "30", "1")
    said = table(run).partition("\n\n")[2].splitlines()
    assert said[:2] == ["lost: s1 a: has not ended", "gaps: s2 b: chunk 0 is missing"]
    assert (len(said), said[-1]) == (21, "and 12 more")
    assert run.violations[-1] == "left behind: 1 left in pending"


def test_a_worker_that_ended_by_itself_is_a_violation_of_its_own() -> None:
    run = replace(RUN, findings=replace(CLEAN, workers_ended_by_themselves=["worker-3.log: Traceback"]))
    assert _rows(table(run))["workers ended by themselves"] == "1"
    assert run.violations == ["workers_ended_by_themselves: worker-3.log: Traceback"]
