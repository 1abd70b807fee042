"""The fuzzer finds planted faults, and finds none in the parsers."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from tests.fuzz import __main__ as fuzz
from tests.fuzz import faulty
from tests.fuzz.__main__ import main
from tests.fuzz.child import Shard
from tests.fuzz.crew import shards_of, work_off
from tests.fuzz.strategies import examples
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS

SEED = "suite"
BY_NAME = {target.name: target for target in TARGETS}


@pytest.mark.slow
def test_a_few_thousand_malformed_inputs_do_no_harm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "report.json"
    assert main(["--n", "2400", "--seed", SEED, "--json", str(report)]) == 0, capsys.readouterr().out
    tallies = json.loads(report.read_text("utf-8"))["tallies"]
    assert {tally["target"] for tally in tallies} == {target.name for target in TARGETS}
    assert sum(tally["n_inputs"] for tally in tallies) >= 2390
    assert sum(tally["n_accepted"] for tally in tallies) > 240


@pytest.mark.slow
def test_every_kind_of_fault_is_found_with_the_shortest_input_that_shows_it() -> None:
    tallies = work_off([Shard(name, SEED, 12, hang_s=1.0) for name in faulty.FAULTS], 2)
    found = {finding.target: finding for tally in tallies for finding in tally.findings}
    assert {name: finding.kind for name, finding in found.items()} == {
        name: kind for name, (kind, _) in faulty.FAULTS.items()
    }
    assert base64.b64decode(found["raises"].input) == faulty.FAULT


@pytest.mark.parametrize("name", faulty.RARE)
@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")  # of long inputs
def test_a_strategy_comes_upon_what_a_likely_fault_would_stumble_over(name: str) -> None:
    inputs = (data for number in range(12) for data in examples(BY_NAME[name].inputs(), 500, number))
    assert any(map(faulty.RARE[name], inputs))


def test_what_kills_a_process_is_passed_over_and_the_rest_of_its_inputs_is_parsed() -> None:
    tallies = work_off([Shard("crashes", SEED, 6)], 1)
    assert [tally.n_inputs for tally in tallies] == [3, 1, 1, 1]


def test_an_input_can_be_parsed_again_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--target", "header", "--replay", base64.b64encode(b"no tensors").decode()]) == 0
    assert "1 inputs" in capsys.readouterr().out


def test_a_long_input_is_kept_in_a_file_that_replay_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(fuzz, "SHOWN_CHARS", 4)
    monkeypatch.setattr(fuzz, "TARGETS", faulty.TARGETS)
    assert main(["--n", "10", "--seed", SEED, "--target", "raises"]) == 1
    replay = capsys.readouterr().out.strip().split("--replay ")[1]
    assert main(["--target", "raises", "--replay", replay]) == 1
    assert "KeyError" in capsys.readouterr().out


def test_inputs_are_divided_by_weight_and_none_is_lost() -> None:
    shards = shards_of(TARGETS, 100_000, SEED)
    assert sum(shard.n_inputs for shard in shards) == pytest.approx(100_000, abs=len(TARGETS))
    assert {shard.target for shard in shards} == {target.name for target in TARGETS}


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_the_same_seed_makes_the_same_inputs(target: Target) -> None:
    assert examples(target.inputs(), 20, 1) == examples(target.inputs(), 20, 1)
    assert examples(target.inputs(), 20, 1) != examples(target.inputs(), 20, 2)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_some_seeds_of_a_target_are_valid(target: Target, tmp_path: Path) -> None:
    n_accepted = 0
    for number, data in enumerate(target.seeds()):
        folder = tmp_path / str(number)
        folder.mkdir()
        target.lay(data, folder)
        try:
            n_accepted += target.parse(data, folder)
        except target.declared:
            continue
    assert n_accepted
