"""Short runs: a fleet with fencing loses nothing, and violations of one without fencing are found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.nursery import REPOSITORY


def _run(folder: Path, *words: str) -> tuple[int, str, dict[str, Any]]:
    """Its status, what it printed and its figures. folder: what it keeps goes there."""
    figures = folder / "figures.json"
    command = [sys.executable, "-m", "tests.chaos", "--json", str(figures), *words]
    environment = {**os.environ, "TMPDIR": str(folder)}
    done = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=200, env=environment
    )
    assert figures.exists(), done.stderr
    return done.returncode, done.stdout, json.loads(figures.read_text())


@pytest.mark.slow
def test_a_small_run_finds_nothing_wrong(tmp_path: Path) -> None:
    status, printed, figures = _run(tmp_path, "--seed", "1", "--minutes", "0.2")
    assert status == 0, printed
    assert figures["violations"] == []
    ends = ("complete", "cancelled", "refused", "stalled", "excepted")
    assert figures["jobs"] == sum(figures[end] for end in ends) > 20
    assert figures["odd_members"] >= 2
    assert figures["workers_ended_by_themselves"] == 0
    assert figures["kills"] >= 3
    assert figures["stops"] >= 2
    assert figures["restarts"] == 1
    assert figures["takeovers"] > 0
    assert not list(tmp_path.glob("makima-tts-chaos-*"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_fleet_that_heeds_no_fence_is_found_out(tmp_path: Path) -> None:
    """Whether a stopped worker wakes while its utterance goes on elsewhere depends on chance and on the machine."""
    for seed in range(1, 4):
        folder = tmp_path / str(seed)
        folder.mkdir()
        status, printed, figures = _run(folder, "--seed", str(seed), "--minutes", "0.1", "--naive")
        assert printed.splitlines()[0].startswith(f"seed {seed},")
        if figures["duplicated"] > 0:
            break
    assert figures["duplicated"] > 0, "what a stopped worker writes when it wakes was written by another before"
    assert status == 1
    [kept] = folder.glob("makima-tts-chaos-*")
    assert "stops worker-" in (kept / "evidence" / "faults.txt").read_text()
