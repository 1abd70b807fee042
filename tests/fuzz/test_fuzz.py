"""The fuzzer finds what it is there to find, and finds nothing in the parsers."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from random import Random

import pytest

from tests.fuzz import __main__ as fuzz
from tests.fuzz import faulty, guard
from tests.fuzz.__main__ import main
from tests.fuzz.crew import shards_of, work_off
from tests.fuzz.shard import Shard
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS

SEED = "suite"


def test_a_few_thousand_malformed_inputs_do_no_harm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "report.json"
    assert main(["--n", "2400", "--seed", SEED, "--json", str(report)]) == 0, capsys.readouterr().out
    tallies = json.loads(report.read_text("utf-8"))["tallies"]
    assert {tally["place"] for tally in tallies} == {target.place for target in TARGETS}
    assert sum(tally["n_inputs"] for tally in tallies) >= 2390
    assert sum(tally["n_accepted"] for tally in tallies) > 240


def test_every_kind_of_fault_is_found_with_the_input_that_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(guard.HANG_SETTING, "1")
    shards = [Shard(f"{faulty.__name__}:{name}", SEED, 0, 0, 5) for name in faulty.KINDS]
    tallies = work_off(shards, 2)
    found = {finding.place.partition(":")[2]: finding for tally in tallies for finding in tally.findings}
    assert {name: finding.kind for name, finding in found.items()} == faulty.KINDS
    assert {base64.b64decode(finding.input) for finding in found.values()} == {faulty.FAULT}


def test_what_kills_a_process_is_passed_over_and_the_rest_of_its_shard_is_parsed() -> None:
    tallies = work_off([Shard(faulty.CRASHES.place, SEED, 0, 0, 5)], 1)
    assert [tally.n_inputs for tally in tallies] == [4, 1]


def test_an_input_can_be_parsed_again_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--target", "header", "--replay", base64.b64encode(b"no tensors").decode()]) == 0
    assert "1 inputs" in capsys.readouterr().out


def test_a_long_input_is_kept_in_a_file_that_replay_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(fuzz, "SHOWN_CHARS", 4)
    monkeypatch.setattr(fuzz, "TARGETS", (faulty.RAISES,))
    assert main(["--n", "10", "--seed", SEED]) == 1
    replay = capsys.readouterr().out.strip().split("--replay ")[1]
    assert main(["--target", "raises", "--replay", replay]) == 1
    assert "KeyError" in capsys.readouterr().out


def test_inputs_are_divided_by_weight_and_none_is_lost() -> None:
    shards = shards_of(TARGETS, 100_000, SEED)
    assert sum(shard.last for shard in shards) == pytest.approx(100_000, abs=len(TARGETS))
    assert {shard.place for shard in shards} == {target.place for target in TARGETS}


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_the_same_seed_makes_the_same_inputs(target: Target) -> None:
    seeds = target.seeds()

    def inputs(seed: str) -> list[bytes]:
        draws = [Random(f"{seed} {index}") for index in range(20)]
        return [target.mutate(draw, draw.choice(seeds), draw.choice(seeds)) for draw in draws]

    assert inputs("a") == inputs("a")
    assert inputs("a") != inputs("b")


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
