"""A plan is drawn from its seed alone, reaches its counts and lasts as long as it should."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tests.chaos.damage import PLANE
from tests.chaos.plan import DEFAULT_MINUTES, KINDS, LEASE_MS, WANTED, WANTED_DAMAGE, Step, schedule, shortfall

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


def test_what_a_run_did_not_reach_is_told_and_a_short_run_has_less_to_reach() -> None:
    done = {"jobs": 400, "kills": 49, "restarts": 7}
    assert shortfall(done, DEFAULT_MINUTES) == ["49 kills, wanted were 50", "0 stops, wanted were 30"]
    assert shortfall({"jobs": 100, "kills": 12, "stops": 7, "restarts": 1}, DEFAULT_MINUTES / 4) == []
