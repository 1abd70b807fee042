"""A pytest plugin that appends each test's outcome to a file, and ends the run when the GPU is unusable.

Tests that the file has already are not run again. It has the fixture of tests/conftest.py that the kernels' tests use,
as that file needs Redis.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from worker.engine.health import is_beyond_repair

LOG = "GPU_TEST_LOG"  # the environment variable that names the file
UNUSABLE = 77  # exit status


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint whose utterances end by their budgets only."""
    from benchmarks import checkpoint

    folder = tmp_path_factory.mktemp("checkpoints") / "tiny"
    checkpoint.write("tiny", folder)
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    log = Path(os.environ[LOG])
    lines = log.read_text("utf-8").splitlines() if log.exists() else []
    done = {json.loads(line)["test"] for line in lines}
    items[:] = [item for item in items if item.nodeid not in done]


def pytest_runtest_logstart(nodeid: str) -> None:
    _append({"test": nodeid, "outcome": "running", "began": time.time()})


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """One line for a test's call, and for a setup or teardown that did not pass."""
    if report.when == "call" or report.outcome != "passed":
        line = {"test": report.nodeid, "outcome": report.outcome, "seconds": round(report.duration, 2)}
        _append(line | {"reason": _reason(report)})


@pytest.hookimpl(tryfirst=True)
def pytest_exception_interact(call: pytest.CallInfo[Any]) -> None:
    if call.excinfo is not None and is_beyond_repair(call.excinfo.value):
        _unusable.append(True)


def pytest_runtest_logfinish() -> None:
    if _unusable:
        pytest.exit("the GPU is unusable after a CUDA error", UNUSABLE)


_unusable: list[bool] = []


def _reason(report: pytest.TestReport) -> str:
    if report.outcome == "skipped" and isinstance(report.longrepr, tuple):
        return str(report.longrepr[2])
    return "" if report.outcome == "passed" else str(report.longrepr)[-3000:]


def _append(line: dict[str, Any]) -> None:
    with Path(os.environ[LOG]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
