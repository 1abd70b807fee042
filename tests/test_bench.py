"""The queue's measurements measure what they say; how fast anything is is not tested."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import redis

from tests.conftest import Server
from worker.bench import backlog, dictation
from worker.bench.queue import run

PEERS = ("makima-tts", "raw redis-py", "raw redis-py, batched")


def test_all_peers_are_measured_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("-", None, n_jobs=150, n_samples=5, n_rounds=3) == 0
    report = json.loads(capsys.readouterr().out)
    assert tuple(report["peers"]) == PEERS
    for figures in report["peers"].values():
        assert 0 < figures["pickup_ms_p50"]["median"] <= figures["pickup_ms_p99"]["median"]
        assert figures["pickup_ms_p50"]["median"] <= figures["chunk_ms_p50"]["median"]
        for figure in figures.values():
            assert 0 < figure["min"] <= figure["median"] <= figure["max"]
    assert (report["rounds"], report["jobs_a_round"], report["samples_a_round"]) == (3, 150, 5)


def test_each_ratio_says_over_which_peer_it_is_and_what_that_means(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("-", None, n_jobs=50, n_samples=3, n_rounds=1) == 0
    report = json.loads(capsys.readouterr().out)
    assert tuple(report["ratios"]) == PEERS[1:]
    for peer, ratios in report["ratios"].items():
        assert "makima-tts over" in ratios.pop("is")
        for figure, ratio in ratios.items():
            ours, theirs = (report["peers"][name][figure]["median"] for name in ("makima-tts", peer))
            assert ratio["median"] == pytest.approx(ours / theirs, rel=0.01, abs=0.002)


def test_hints_are_measured_beside_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("-", None, n_jobs=50, n_samples=3, n_rounds=1, with_unhinted=True) == 0
    report = json.loads(capsys.readouterr().out)
    assert tuple(report["peers"]) == (*PEERS, "makima-tts without hints")
    assert report["ratios"]["makima-tts without hints"]["settled_per_s"]["median"] > 0


def test_a_file_is_written_and_the_redis_given_is_left_empty(
    valkey: redis.Redis, valkey_server: Server, tmp_path: Path
) -> None:
    file = tmp_path / "queue.json"
    assert run(str(file), valkey_server.url, n_jobs=50, n_samples=3, n_rounds=1) == 0
    assert json.loads(file.read_text("utf-8"))["server"]
    assert valkey.dbsize() == 0


def test_a_redis_that_holds_something_is_not_touched(
    valkey: redis.Redis, valkey_server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    valkey.set("precious", "1", ex=60)
    assert run("-", valkey_server.url, n_jobs=10, n_samples=1, n_rounds=1) == 1
    assert "not empty" in capsys.readouterr().err
    assert valkey.get("precious") == b"1"


def test_no_redis_is_one_line_and_a_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("-", "redis://127.0.0.1:1/0", n_jobs=10, n_samples=1, n_rounds=1) == 1
    assert capsys.readouterr().err.startswith("makima-tts: ")


def test_a_backlog_is_measured_in_every_situation(capsys: pytest.CaptureFixture[str]) -> None:
    assert backlog.run("-", None, n_waiting=300, n_sessions=5, seconds=0.5, sweep_every_s=0.2) == 0
    report = json.loads(capsys.readouterr().out)
    assert tuple(report["situations"]) == backlog.SITUATIONS
    assert report["longest_script_ms"] == max(one["longest_script_ms"] for one in report["situations"].values())
    for name in ("one", "many"):
        situation = report["situations"][name]
        for figure in ("p50", "p99"):
            with_jobs, without = (situation[which]["pickup_ms"][figure] for which in ("waiting", "none"))
            assert situation["ratios"][f"pickup_{figure}"] == pytest.approx(with_jobs / without, abs=0.01)
    for name in ("draining", "ready"):
        assert report["situations"][name]["waiting"]["settled_per_s"] > 0


@pytest.mark.parametrize(
    ("options", "said"), [({"n_waiting": 0}, "waiting"), ({"n_sessions": 64}, "63"), ({"only": "some"}, "draining")]
)
def test_a_backlog_that_cannot_be_is_refused(
    options: dict[str, object], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert backlog.run("-", None, **options) == 2
    assert said in capsys.readouterr().err


def test_a_text_that_is_being_written_is_measured_beside_the_same_text_whole(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It fails where the two give other samples or segments."""
    assert dictation.run("-", None, "espeak-ng", n_rounds=2, word_ms=5) == 0
    report = json.loads(capsys.readouterr().out)
    for name in ("whole_first_audio_ms", "open_first_audio_ms"):
        assert 0 < report[name]["lowest"] <= report[name]["p50"] <= report[name]["highest"]
    assert report["open_ratio_to_whole"] > 0
