"""A plan is drawn from its seed alone, reaches its counts and lasts as long as it should."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tests.chaos.damage import PLANE
from tests.chaos.plan import DEFAULT_MINUTES, KINDS, LEASE_MS, WANTED, WANTED_DAMAGE, Step, scaled, schedule, shortfall

EVERYTHING = {"proxy", "damage", "clock"}


def _drawn(seed: int, minutes: float = DEFAULT_MINUTES, without: str = "") -> list[Step]:
    return schedule(random.Random(seed), minutes, EVERYTHING - {without})


def test_the_same_seed_gives_the_same_plan_and_another_one_another() -> None:
    assert _drawn(1) == _drawn(1) != _drawn(2)


@pytest.mark.parametrize("without", ["", "proxy", "damage"])
def test_a_run_of_the_default_length_reaches_what_is_wanted(without: str) -> None:
    n = Counter(step.kind for step in _drawn(3, without=without))
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


@pytest.mark.parametrize("missing", sorted(EVERYTHING))
def test_what_a_run_does_not_offer_is_not_used_and_nothing_else_is_left_out(missing: str) -> None:
    whole, without = (Counter(step.kind for step in _drawn(5, without=name)) for name in ("", missing))
    assert {kind for kind in whole if kind not in without} == {name for name in KINDS if missing in KINDS[name].needs}
    assert all(whole[kind] == n for kind, n in without.items())


def test_the_faults_of_a_seed_stay_when_damage_comes_beside_them() -> None:
    is_fault = {name for name in KINDS if "damage" not in KINDS[name].needs}
    assert [step for step in _drawn(5) if step.kind in is_fault] == _drawn(5, without="damage")


def test_a_whole_run_does_so_much_damage_that_every_key_has_its_turn() -> None:
    n = Counter(step.kind for step in _drawn(3))
    assert n["odd_member"] > 2 * len(PLANE)
    assert n["other_type"] > len(PLANE)
    short = shortfall({**WANTED, **WANTED_DAMAGE, "odd_members": 29}, DEFAULT_MINUTES, has_damage=True)
    assert short == ["29 odd_members, wanted were 30"]


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
