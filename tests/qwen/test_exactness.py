"""Products that depend on threads or batch are found and reported; MKL's strict mode is set in time."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from schemas.messages import Begin
from tests.conftest import REPOSITORY
from tests.shell import ENVIRONMENT
from worker.commands.doctor.qwen import check_products
from worker.engine import exactness
from worker.engine.base import EngineError
from worker.engine.processor import kind_of, processor
from worker.engine.qwen.arithmetic import arithmetic_of
from worker.engine.qwen.loader import Model, load

pytestmark = pytest.mark.timeout(900)  # a Python that imports torch beside busy programs takes its time

HAS_MKL = torch.backends.mkl.is_available()
VARIABLES = ("MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS")


@pytest.fixture(autouse=True)
def _asked_again() -> None:
    exactness.check.cache_clear()


def alone(*words: str, **variables: str) -> str:
    """What a Python of its own prints, with none of MKL's variables but these."""
    environment = {name: value for name, value in ENVIRONMENT.items() if name not in VARIABLES} | variables
    done = subprocess.run(
        [sys.executable, *words], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


# MKL's mode.


@pytest.mark.parametrize("variables", [{}, {"MKL_ENABLE_INSTRUCTIONS": "AVX2"}], ids=["all", "AVX2"])
@pytest.mark.skipif(not HAS_MKL, reason="this torch multiplies without MKL: nothing is promised, doctor tells")
def test_no_product_of_a_fresh_process_changes(variables: dict[str, str]) -> None:
    """Of the real codec's sizes: sums of 7168 numbers, 208 columns, on 1 to 4 threads, in company and alone."""
    report = json.loads(alone("-m", "worker.engine.exactness", **variables).splitlines()[-1])
    assert report["problem"] == ""


def test_the_engine_asks_for_the_strict_mode_before_it_multiplies() -> None:
    program = "import torch, os; import worker.engine.qwen; print(os.environ['MKL_CBWR'])"
    assert alone("-c", program) == "AUTO,STRICT"
    assert alone("-c", program, MKL_CBWR="AVX2") == "AVX2", "an operator's choice stays"


# The check.


def splits_its_sums(weight: Tensor, x: Tensor) -> Tensor:
    """As MKL sums without its strict mode: in as many parts as there are threads."""
    parts = zip(weight.chunk(torch.get_num_threads(), 1), x.chunk(torch.get_num_threads(), 1), strict=True)
    return sum((torch.matmul(w, part) for w, part in parts), start=torch.zeros(()))


def sums_by_rows(weight: Tensor, x: Tensor) -> Tensor:
    """Another order for several rows than for one."""
    order = slice(None) if len(x) == 1 else torch.arange(x.shape[1]).flip(0)
    return torch.matmul(weight[:, order], x[:, order])


def sums_by_columns(weight: Tensor, x: Tensor) -> Tensor:
    """Another order where there are many columns."""
    order = slice(None) if x.shape[2] < 192 else torch.arange(x.shape[1]).flip(0)
    return torch.matmul(weight[:, order], x[:, order])


@pytest.mark.parametrize("multiply", [splits_its_sums, sums_by_rows, sums_by_columns])
@pytest.mark.parametrize("way", ["_by_rows", "_by_columns"])
def test_products_that_change_are_found(way: str, multiply: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exactness, way, multiply)
    error = exactness.check()
    assert error is not None
    assert "of 32 products of this process change in their last bits, first 64 x 1024 times" in error.problem


@pytest.mark.parametrize(
    ("mode", "remedy"),
    [
        (None, "MKL_CBWR is None: set it to AUTO,STRICT before the process starts"),
        ("COMPATIBLE", "MKL_CBWR is COMPATIBLE: set it to AUTO,STRICT before the process starts"),
        ("AUTO,STRICT", "import worker.engine.qwen before anything multiplies"),
    ],
)
@pytest.mark.skipif(not HAS_MKL, reason="this torch multiplies without MKL")
def test_the_remedy_is_that_of_the_cause(mode: str | None, remedy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exactness, "_by_rows", splits_its_sums)
    monkeypatch.delenv("MKL_CBWR")
    if mode is not None:
        monkeypatch.setenv("MKL_CBWR", mode)
    error = exactness.check()
    assert error is not None
    assert error.remedy.endswith(remedy)


def test_the_number_of_threads_is_left_as_it_was() -> None:
    before = torch.get_num_threads()
    exactness.check()
    assert torch.get_num_threads() == before


# Where it is reported.


@pytest.mark.parametrize(("dtype", "is_warned"), [("float32", True), ("bfloat16", True), ("float64", False)])
def test_loading_warns_once_where_float32_products_change(
    dtype: str, is_warned: bool, tiny: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(exactness, "check", lambda: EngineError("products change", "set MKL_CBWR=AUTO,STRICT"))
    with caplog.at_level(logging.WARNING, "worker.engine.qwen.loader"):
        load(str(tiny), device="cpu", dtype=dtype)
    told = [record.getMessage() for record in caplog.records if "products change" in record.getMessage()]
    assert len(told) == is_warned
    assert all("16-bit step" in line and "set MKL_CBWR=AUTO,STRICT" in line for line in told)


def test_doctor_tells_of_products_that_change_and_what_to_do() -> None:
    finding = check_products({"problem": "3 of 32 products change", "remedy": "set MKL_CBWR", "instructions": "AVX512"})
    assert (finding.state, finding.detail, finding.remedy) == ("warn", "3 of 32 products change", "set MKL_CBWR")


def test_doctor_names_the_processor_on_which_nothing_changes() -> None:
    finding = check_products({"problem": "", "instructions": "AVX2"})
    assert finding.state == "ok"
    assert f"{processor()}, AVX2" in finding.detail


def test_doctor_lives_without_an_answer() -> None:
    finding = check_products({"error": "no answer within 90 s"})
    assert finding.state == "warn"
    assert "no answer within 90 s" in finding.detail


# What a worker computes on.


@pytest.fixture(scope="module")
def model(tiny: Path) -> Model:
    return load(str(tiny), device="cpu", dtype="float32")


def test_a_worker_names_processor_instructions_libraries_and_weights(model: Model) -> None:
    name = arithmetic_of(model).name
    words = name.split()
    assert words[:4] == ["qwen", "float32", "codec-float32", processor()]
    assert torch.backends.cpu.get_cpu_capability() in words
    assert f"torch-{torch.__version__}" in words
    assert f"weights-{model.fingerprint[:12]}" in words
    assert f"MKL_CBWR={os.environ['MKL_CBWR']}" in words
    begin = Begin(
        job_id="1-0", session_id="s", voice="v", model="m", sample_rate=24_000, encoding="mulaw", attempt=1,
        computed_on=name,
    )  # fmt: skip
    assert begin.computed_on == name


def test_the_name_is_the_same_in_another_process(model: Model) -> None:
    program = f"""
import torch
from types import SimpleNamespace
from worker.engine.qwen.arithmetic import arithmetic_of
model = SimpleNamespace(
    device=torch.device("cpu"), dtype=torch.float32, codec_dtype=torch.float32, fingerprint={model.fingerprint!r}
)
print(arithmetic_of(model).name)
"""
    assert alone("-c", program).splitlines()[-1] == arithmetic_of(model).name


def test_only_a_float32_codec_whose_products_never_change_is_exact(
    model: Model, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half, double = (load(str(tiny), device="cpu", dtype=dtype) for dtype in ("bfloat16", "float64"))
    assert "bfloat16 codec-float32" in arithmetic_of(half).name
    assert not arithmetic_of(double).is_exact
    for problem in (None, EngineError("products change")):
        monkeypatch.setattr(exactness, "check", lambda problem=problem: problem)
        for its in (model, half):
            assert arithmetic_of(its).is_exact is (problem is None)


INTEL = "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 143\nmodel name\t: Intel(R) Xeon(R)\n"
ARM = "processor\t: 0\nBogoMIPS\t: 50.00\nCPU implementer\t: 0x41\nCPU part\t: 0xd40\n"


@pytest.mark.parametrize(
    ("cpuinfo", "kind"),
    [
        (INTEL, "GenuineIntel-6-143"),
        (f"{INTEL}\n{INTEL}".replace("143", "85", 1), "GenuineIntel-6-85"),
        (ARM, "0x41-0xd40"),
        ("processor : 0\nvendor_id :\n", ""),
        ("", ""),
    ],
)
def test_a_processor_is_named_by_vendor_family_and_model(cpuinfo: str, kind: str) -> None:
    assert kind_of(cpuinfo) == kind
