"""`bench queue` measures both peers and says so; how fast they are is not tested."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import redis

from tests.conftest import Server
from worker.bench.queue import run

PEERS = ("makima-tts", "raw redis-py")


def test_both_peers_are_measured_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("-", None, n_jobs=300, n_samples=10) == 0
    report = json.loads(capsys.readouterr().out)
    for peer in PEERS:
        figures = report["peers"][peer]
        assert 0 < figures["pickup_ms"]["p50"] <= figures["pickup_ms"]["p99"]
        assert figures["pickup_ms"]["p50"] <= figures["chunk_ms"]["p50"]
        assert figures["settled_per_s"] > 0
    ours, raw = (report["peers"][peer] for peer in PEERS)
    assert report["ratios"]["pickup_p50"] == pytest.approx(ours["pickup_ms"]["p50"] / raw["pickup_ms"]["p50"], abs=0.01)
    assert report["ratios"]["settled_per_s"] == pytest.approx(ours["settled_per_s"] / raw["settled_per_s"], abs=0.01)
    assert (report["jobs"], report["samples"]) == (300, 10)


def test_a_file_is_written_and_the_redis_given_is_left_empty(
    valkey: redis.Redis, valkey_server: Server, tmp_path: Path
) -> None:
    file = tmp_path / "queue.json"
    assert run(str(file), valkey_server.url, n_jobs=50, n_samples=3) == 0
    assert json.loads(file.read_text("utf-8"))["server"]
    assert valkey.dbsize() == 0


def test_a_redis_that_holds_something_is_not_touched(
    valkey: redis.Redis, valkey_server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    valkey.set("precious", "1", ex=60)
    assert run("-", valkey_server.url, n_jobs=10, n_samples=1) == 1
    assert "not empty" in capsys.readouterr().err
    assert valkey.get("precious") == b"1"


def test_no_redis_is_one_line_and_a_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("-", "redis://127.0.0.1:1/0", n_jobs=10, n_samples=1) == 1
    assert capsys.readouterr().err.startswith("makima-tts: ")
