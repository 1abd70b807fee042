"""The table says what a run did, what came of it and what was wrong, in one screen."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.findings import Findings
from tests.chaos.ledger import Ledger
from tests.chaos.table import Run, figures, percentile, table

LEDGER = Ledger(faults=Counter(kills=52, eclipses=1))
CLEAN = Findings(n_sessions=130, n_jobs=412, n_complete=390, n_cancelled=20, n_refused=2, takeovers=48, reopened=3)
RUN = Run("valkey", "preview", 7, 240.04, LEDGER, CLEAN, takeovers_ms=[2301.5, 1900.2, 2600.0])


def _rows(printed: str) -> dict[str, str]:
    """Name and value of each line of the table's upper part."""
    lines = printed.partition("\n\n")[0].splitlines()
    assert len(set(map(len, lines))) == 1, "the values are aligned"
    return {name.strip(): value for name, value in (line.rsplit(maxsplit=1) for line in lines)}


def test_a_clean_run_is_one_line_a_figure() -> None:
    rows = _rows(table(RUN))
    assert (rows["setup"], rows["engine"], rows["seed"], rows["duration s"]) == ("valkey", "preview", "7", "240.0")
    assert (rows["sessions"], rows["jobs"], rows["complete"], rows["cancelled"], rows["refused"]) == (
        "130", "412", "390", "20", "2",
    )  # fmt: skip
    assert (rows["kills"], rows["stops"], rows["eclipses"]) == ("52", "0", "1")
    assert (rows["takeover ms p50"], rows["takeover ms p95"], rows["takeover ms max"]) == ("2302", "2600", "2600")
    assert [rows[kind] for kind in ("lost", "duplicated", "gaps", "wrong", "broken", "left behind")] == ["0"] * 6
    assert table(RUN).endswith("\n\nnothing is wrong")


def test_violations_are_counted_and_the_first_of_them_said() -> None:
    found = replace(CLEAN, lost=["s1 a: has not ended"], gaps=[f"s2 b: chunk {n} is missing" for n in range(30)])
    run = replace(RUN, findings=found, left_behind=["1 left in pending"])
    rows = _rows(table(run))
    assert (rows["lost"], rows["gaps"], rows["left behind"]) == ("1", "30", "1")
    said = table(run).partition("\n\n")[2].splitlines()
    assert said[:2] == ["lost: s1 a: has not ended", "gaps: s2 b: chunk 0 is missing"]
    assert (len(said), said[-1]) == (21, "and 12 more")
    assert run.violations[-1] == "left behind: 1 left in pending"


def test_damage_is_counted_where_it_was_done_and_the_reason_of_every_exception_said() -> None:
    assert "odd members" not in _rows(table(RUN))
    excepted = ["s1 a: ended by an error, internal: x (its gate)", "s2 b: ended by an error, internal: x (its gate)"]
    found = replace(CLEAN, excepted=[*excepted, "s3 c: was settled without a word (its end field)"])
    ledger = Ledger(faults=Counter(odd_members=40))
    run = replace(RUN, ledger=ledger, findings=found, has_damage=True, skipped=["no clock is set, for it is not there"])
    rows = _rows(table(run))
    assert (rows["odd members"], rows["clocks set"], rows["excepted"]) == ("40", "0", "3")
    assert table(run).partition("\n\n")[2].splitlines() == [
        "skipped: no clock is set, for it is not there",
        "excepted: 2 jobs: ended by an error, internal: x (its gate)",
        "excepted: 1 job: was settled without a word (its end field)",
        "nothing is wrong",
    ]
    assert run.violations == []


def test_a_worker_that_ended_by_itself_is_a_violation_of_its_own() -> None:
    run = replace(RUN, findings=replace(CLEAN, workers_ended_by_themselves=["worker-3.log: Traceback"]))
    assert _rows(table(run))["workers ended by themselves"] == "1"
    assert run.violations == ["workers_ended_by_themselves: worker-3.log: Traceback"]


def test_figures_are_fit_for_json() -> None:
    run = replace(RUN, findings=replace(CLEAN, wrong=["s a: 1 of 2 samples differ"]), takeovers_ms=[])
    read = json.loads(json.dumps(figures(run)))
    assert read["violations"] == ["wrong: s a: 1 of 2 samples differ"]
    assert (read["wrong"], read["takeover_ms_p50"], read["duration_s"]) == (1, None, 240.0)
    assert _rows(table(run))["takeover ms p50"] == "-"


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.95, 95), (1.0, 100), (0.001, 1)])
def test_a_percentile_is_one_of_the_values(share: float, value: int) -> None:
    assert percentile([float(n) for n in range(100, 0, -1)], share) == value


@given(st.lists(st.integers(0, 10_000), min_size=1), st.floats(0.01, 1))
def test_so_large_a_share_does_not_exceed_its_percentile(values: list[int], share: float) -> None:
    least = percentile(values, share)
    assert least in values
    assert sum(value <= least for value in values) >= share * len(values)
