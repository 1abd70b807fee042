"""A plan is drawn from its seed alone, reaches its counts and lasts as long as it should."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tests.chaos.plan import DEFAULT_MINUTES, KINDS, LEASE_MS, WANTED, Step, scaled, schedule, shortfall


def _drawn(seed: int, minutes: float = DEFAULT_MINUTES, has_proxy: bool = True) -> list[Step]:
    return schedule(random.Random(seed), minutes, has_proxy)


def test_the_same_seed_gives_the_same_plan_and_another_one_another() -> None:
    assert _drawn(1) == _drawn(1) != _drawn(2)


@pytest.mark.parametrize("has_proxy", [True, False])
def test_a_run_of_the_default_length_reaches_what_is_wanted(has_proxy: bool) -> None:
    n = Counter(step.kind for step in _drawn(3, has_proxy=has_proxy))
    done = {"jobs": WANTED["jobs"], "kills": n["kill"] + 2 * n["kill_twice"], "stops": n["stop"]}
    assert shortfall(done | {"restarts": n["restart"]}, DEFAULT_MINUTES) == []


@pytest.mark.parametrize("minutes", [0.2, 1, DEFAULT_MINUTES])
def test_faults_of_every_kind_come_all_over_the_run_and_none_outside_of_it(minutes: float) -> None:
    steps = _drawn(4, minutes)
    assert steps == sorted(steps, key=lambda step: step.at_s)
    assert 0 < steps[0].at_s < steps[-1].at_s < 60 * minutes
    for name, kind in KINDS.items():
        times = [step.at_s for step in steps if step.kind == name]
        assert len(times) == scaled(kind.n, minutes) >= 1
        share_s = 60 * minutes / len(times)
        assert [int(at_s // share_s) for at_s in times] == list(range(len(times)))


def test_without_a_proxy_nothing_is_done_to_the_network() -> None:
    with_proxy, without = (Counter(step.kind for step in _drawn(5, has_proxy=has)) for has in (True, False))
    assert {kind for kind in with_proxy if kind not in without} == {name for name in KINDS if KINDS[name].needs_proxy}
    assert all(with_proxy[kind] == n for kind, n in without.items())


def test_every_stop_outlasts_the_lease_and_no_hiccup_does() -> None:
    steps = _drawn(6)
    assert all(step.seconds * 1000 > LEASE_MS for step in steps if step.kind == "stop")
    assert all(step.seconds * 1000 < LEASE_MS for step in steps if step.kind == "hiccup")


def test_half_of_the_restarts_are_hard() -> None:
    hard = [step.is_hard for step in _drawn(7) if step.kind == "restart"]
    assert hard.count(True) == len(hard) / 2


def test_what_a_run_did_not_reach_is_told_and_a_short_run_has_less_to_reach() -> None:
    done = {"jobs": 400, "kills": 49, "restarts": 7}
    assert shortfall(done, DEFAULT_MINUTES) == ["49 kills, wanted were 50", "0 stops, wanted were 30"]
    assert shortfall({"jobs": 100, "kills": 12, "stops": 7, "restarts": 1}, DEFAULT_MINUTES / 4) == []
