"""The part `tests`: pytest on the kernels' tests and on tests/gpu, a process for each module.

After a hang or an error that leaves the GPU unusable another process goes on with the module. It runs without
pyproject.toml, whose options need the development packages, and without the conftest of all tests, which needs Redis.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.gpu import card
from benchmarks.gpu.reports import LOG, UNUSABLE
from benchmarks.gpu.steps import Options, Step

ROOT = Path(__file__).parents[2]
KERNELS, ENGINE = Path("tests/qwen/kernels"), Path("tests/gpu")
PYTEST_FAILED = (2, 3, 4)  # exit statuses: interrupted, an error of its own, a wrong command
WITHOUT_GPU = ("compiled", "count", "launches")  # modules that say the same on any machine
LIMIT_S = 480  # of one module: without a cache its kernels are compiled, some 0.5 s each, 76 for a number format
TEST_S = 180  # of one test
PYTEST = ("-m", "pytest", "-c", "/dev/null", "--rootdir", ".", "-q", "-W", "ignore", "-p", "no:cacheprovider",
          "-p", "benchmarks.gpu.reports")  # fmt: skip


def steps(options: Options) -> list[Step]:
    """A step for each module. Without a GPU the kernels' tests would run in Triton's interpreter, for minutes."""
    made = [Step("device", 90, lambda: card.device(options), is_needed=True)]
    for folder, prefix in ((ENGINE, ""), (KERNELS, "kernel ")) if options.is_cuda else ((ENGINE, ""),):
        for path in sorted((ROOT / folder).glob("test_*.py")):
            name = path.stem.removeprefix("test_").removeprefix("gpu_")
            if not name.endswith(WITHOUT_GPU):
                made.append(Step(prefix + name, LIMIT_S + 20, partial(run_module, options, folder / path.name)))
    return made


def run_module(options: Options, module: Path) -> dict[str, Any]:
    """The outcome of each of a module's tests, {name: [outcome, seconds, reason]}, and how many there are of each.

    A test that hangs ends its process; the others go on in a new one. Raises RuntimeError where pytest cannot run.
    """
    if find_spec("pytest") is None:
        raise RuntimeError("pytest is not installed; install it: pip install pytest")
    log = options.folder / f"{module.parent.name}-{module.stem}.log"
    log.unlink(missing_ok=True)
    until_s = time.monotonic() + LIMIT_S
    outcomes: dict[str, list[Any]] = {}
    while True:
        n_before = len(outcomes)
        status, said = _pytest(module, log, until_s)
        outcomes |= _read(log)
        is_cut_short = status is None or status < 0 or status == UNUSABLE
        if not is_cut_short or len(outcomes) == n_before or time.monotonic() > until_s:
            break
    if not outcomes or status in PYTEST_FAILED:
        raise RuntimeError(f"pytest ended with {status}: {said[-1500:]}")
    if status is None and time.monotonic() > until_s:
        outcomes["(rest of the module)"] = ["not run", 0.0, f"the module's {LIMIT_S} s were over"]
    return {"counts": _counts(outcomes), "tests": outcomes}


def _pytest(module: Path, log: Path, until_s: float) -> tuple[int | None, str]:
    """Run the tests that the log does not have. Returns the exit status, None where one hung, and the output."""
    command = [sys.executable, *PYTEST, "--confcutdir", str(module.parent), str(module)]
    output = log.with_suffix(".txt")
    with output.open("a", encoding="utf-8") as file:
        process = subprocess.Popen(  # noqa: S603
            command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, env=_environment(log)
        )
        try:
            while process.poll() is None:
                time.sleep(0.1)
                if time.monotonic() > until_s or _is_late(log):
                    return None, "a test hung"
            return process.returncode, output.read_text("utf-8", "replace")
        finally:
            process.kill()
            process.wait()


def _environment(log: Path) -> dict[str, str]:
    """Plugins that are installed are not loaded: the outcome must not depend on them."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return os.environ | {LOG: str(log), "PYTHONPATH": path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


def _is_late(log: Path) -> bool:
    """Whether the running test has had more than TEST_S."""
    lines = log.read_text("utf-8").splitlines() if log.exists() else []
    last = json.loads(lines[-1]) if lines and lines[-1].endswith("}") else {}
    return last.get("outcome") == "running" and time.time() > last["began"] + TEST_S


def _read(log: Path) -> dict[str, list[Any]]:
    """The last outcome of each test. One that was running when its process ended is lost, which the log keeps."""
    lines = log.read_text("utf-8").splitlines() if log.exists() else []
    found = {report["test"]: report for report in map(json.loads, lines)}
    with log.open("a", encoding="utf-8") as file:
        for report in found.values():
            if report["outcome"] == "running":
                report |= {"outcome": "lost", "reason": "its process ended: the test hung or crashed it"}
                file.write(json.dumps(report) + "\n")
    return {name: [it["outcome"], it.get("seconds", 0.0), it.get("reason", "")] for name, it in found.items()}


def _counts(outcomes: dict[str, list[Any]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for outcome, *_ in outcomes.values():
        found[outcome] = found.get(outcome, 0) + 1
    return found
