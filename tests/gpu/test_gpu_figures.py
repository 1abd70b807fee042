"""The figures of docs/benchmarks.md: `bench engine` on the real shapes. `pytest -s` prints them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import checkpoint

STREAMS, RATES = "1,8,16,32,64", "1,10,20"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_bench_engine_measures_the_full_model(gpu: None, tmp_path: Path) -> None:
    folder, out = tmp_path / "full", tmp_path / "figures.json"
    checkpoint.write("full", folder)
    command = [sys.executable, "-m", "worker.cli", "bench", "engine", "--model", str(folder), "--device", "cuda"]
    subprocess.run([*command, "--streams", STREAMS, "--rates", RATES, "--json", str(out)], check=True)
    figures = json.loads(out.read_text("utf-8"))
    print(json.dumps(figures, indent=2))
    assert figures
