"""benchmarks.load: speech under load, on a simulated GPU and clock."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.load import POLICIES, TTL_S, bursts, main, run, served
from benchmarks.load_policies import SIMPLE, WORKER, LoadPolicy
from benchmarks.load_scenarios import BURST_MOMENTS_S, beside_readings, poisson
from benchmarks.load_times import TABLES, StepTable, TableError
from benchmarks.load_worker import Listener
from worker.engine.base import FRAME_S

COMPUTED = StepTable.read(TABLES["computed"])


def at_20_a_second(policy: LoadPolicy, seconds: float = 6.0) -> dict[str, Any]:
    listeners = poisson(20.0, seconds, seed=3)
    return served(listeners, run(listeners, COMPUTED, policy, 64, TTL_S))


def test_20_requests_a_second_on_64_slots_are_served_in_time_and_the_same_way_every_time() -> None:
    figures = at_20_a_second(WORKER)
    assert figures["served"] >= 0.99
    assert figures["underran"] <= 0.01
    assert figures["first_audio_ms_p95"] <= 60
    assert at_20_a_second(WORKER) == figures


def test_in_a_burst_nobody_who_speaks_runs_dry_and_half_of_the_new_ones_sound_sooner_than_by_simple_policies() -> None:
    figures = {policy.name: bursts(COMPUTED, policy, 64) for policy in POLICIES}
    worker = figures[WORKER.name]
    assert worker["spoke"] == 8 * len(BURST_MOMENTS_S)
    assert worker["spoke_and_ran_dry"] == 0
    assert figures["no pacing"]["spoke_and_ran_dry"] > 0
    for name in ("first come, first served", "no pacing"):
        assert worker["first_audio_ms_p50"] < 0.8 * figures[name]["first_audio_ms_p50"]
        assert worker["first_audio_ms_p95"] < 1.25 * figures[name]["first_audio_ms_p95"]


def test_beside_long_readings_in_every_slot_a_short_request_sounds_at_once_where_slots_are_taken_back() -> None:
    def short(policy: LoadPolicy) -> dict[str, Any]:
        listeners = beside_readings(6, rate_per_s=2.0, seconds=4.0, seed=1)
        worker = run(listeners, COMPUTED, policy, 6, TTL_S)
        assert not any(one.dry_s for one in listeners[:6])
        return served(listeners[6:], worker)

    assert short(WORKER)["first_audio_ms_p95"] <= 60
    assert all(short(policy)["first_audio_ms_p50"] > 1000 for policy in SIMPLE)


def test_beyond_capacity_jobs_expire_in_the_queue_and_nobody_who_was_begun_runs_dry() -> None:
    listeners = poisson(12.0, 6.0, seed=2)
    figures = served(listeners, run(listeners, COMPUTED, WORKER, 4, ttl_s=1.0))
    assert 0.2 < figures["served"] < 0.9
    assert figures["underran"] == 0
    assert all(one.is_expired != one.has_ended for one in listeners)
    assert all(one.n_received == one.n_frames for one in listeners if one.has_ended)


def test_a_listener_runs_dry_from_the_end_of_what_was_received_until_the_next_audio() -> None:
    listener = Listener(0, asked_s=1.0, n_frames=9)
    listener.receive(1, 2.0)
    listener.receive(1, 2.0 + FRAME_S)
    assert listener.dry_s == pytest.approx(0.0)
    listener.receive(3, 2.0 + 2 * FRAME_S + 0.5)
    assert listener.dry_s == pytest.approx(0.5)
    listener.receive(1, 2.0 + 5 * FRAME_S + 0.5)
    assert listener.dry_s == pytest.approx(0.5)


# The step-time table.


def changed(tmp_path: Path, **values: Any) -> Path:
    table = json.loads(TABLES["computed"].read_text("utf-8")) | values
    path = tmp_path / "steps.json"
    path.write_text(json.dumps(table))
    return path


def test_times_lie_between_the_points_and_sizes_beyond_the_largest_are_refused(tmp_path: Path) -> None:
    frame_ms = [{"rows": r, "attended": a, "ms": r + a / 100} for r in (1, 5) for a in (100, 300)]
    codec_ms = [{"rows": 1, "frames": 12, "ms": 3.0}, {"rows": 12, "frames": 1, "ms": 5.0}]
    table = StepTable.read(changed(tmp_path, frame_ms=frame_ms, codec_ms=codec_ms))
    assert table.frame_s(3, 200) == pytest.approx(0.005)
    assert table.frame_s(1, 50) == pytest.approx(0.002)
    assert table.codec_s(3, 4) == pytest.approx(0.004), "points of one size count as their mean"
    with pytest.raises(TableError):
        table.frame_s(6, 200)
    with pytest.raises(TableError):
        table.frame_s(1, 301)
    with pytest.raises(TableError):
        table.codec_s(4, 4)


def test_unpacked_prefills_follow_each_other(tmp_path: Path) -> None:
    prefill_ms = [{"tokens": 1, "ms": 1.0}, {"tokens": 201, "ms": 2.0}]
    apart = StepTable.read(changed(tmp_path, prefill_ms=prefill_ms, is_packed=False))
    packed = StepTable.read(changed(tmp_path, prefill_ms=prefill_ms, is_packed=True))
    assert apart.prefills_s([101, 101]) == pytest.approx(0.003)
    assert packed.prefills_s([100, 101]) == pytest.approx(0.002)


@pytest.mark.parametrize(
    "values",
    [
        {"format": 2},
        {"frame_ms": []},
        {"codec_ms": [{"rows": 1}]},
        {"prefill_ms": [{"tokens": 1, "ms": 0}]},
        {"codec_hidden": 1.5},
        {"host_ms": None},
    ],
)
def test_a_table_that_cannot_be_used_is_refused(tmp_path: Path, values: dict[str, Any]) -> None:
    with pytest.raises(TableError):
        StepTable.read(changed(tmp_path, **values))


def test_the_command_prints_one_report_and_refuses_what_is_no_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(*arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", ["load", *arguments])
        main()

    command("--rates", "5", "--slots", "1", "--seconds", "1", "--table", "improved")
    printed = json.loads(capsys.readouterr().out)
    assert set(printed["requests_per_s"]["5"]) == {policy.name for policy in POLICIES}
    with pytest.raises(SystemExit, match="2"):
        command("--table", str(tmp_path / "none.json"))
