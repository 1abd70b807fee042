"""doctor about a model: whether it is complete, whether it fits, which engine speaks; without torch in its process."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import make_settings
from tests.qwen.damage import copy_of, remove
from worker.commands.doctor import qwen as doctor_qwen
from worker.commands.doctor.findings import Finding, State
from worker.commands.doctor.qwen import check_qwen, check_weights
from worker.commands.doctor.speech import check_engine
from worker.engine import choose
from worker.engine.base import EngineError
from worker.engine.checkpoint import devices as torch_probe
from worker.engine.checkpoint import memory as footprint
from worker.engine.checkpoint.files import ModelError, read
from worker.engine.checkpoint.room import Need
from worker.engine.choose import make_engine, qwen_problem
from worker.engine.preview.engine import PreviewEngine
from worker.settings import Settings

H200 = {"name": "NVIDIA H200", "free_gib": 138.1, "total_gib": 139.8}
SMALL = {"name": "Small GPU", "free_gib": 0.02, "total_gib": 1.0}


def settings_of(model: Path | str, **changes: Any) -> Settings:
    return make_settings("redis://127.0.0.1:1/0", **({"engine": "qwen", "model": str(model)} | changes))


def found(settings: Settings, *gpus: dict[str, Any]) -> dict[str, Finding]:
    return {finding.what: finding for finding in check_weights(settings, str(settings.model), list(gpus))}


def test_a_complete_model_that_fits_is_well(tiny: Path) -> None:
    findings = found(settings_of(tiny, slots=4), H200)
    assert {finding.state for finding in findings.values()} == {State.OK}
    assert str(tiny) in findings["weights"].detail
    assert "for 4 slots" in findings["memory"].detail
    assert "CUDA" in findings["memory"].detail
    assert "in bfloat16, 138.1 GiB free on NVIDIA H200" in findings["memory"].detail
    assert "for 64 slots" in found(settings_of(tiny), H200)["memory"].detail


@pytest.mark.parametrize(("engine", "state"), [("qwen", "fail"), ("auto", "warn")])
def test_slots_that_do_not_fit_are_told(engine: str, state: str, tiny: Path) -> None:
    memory = found(settings_of(tiny, engine=engine, slots=1000), SMALL)["memory"]
    assert memory.state == state
    assert "--dtype" in memory.remedy, "not even one fits"
    larger = SMALL | {"free_gib": 4.0}
    assert "slots" in found(settings_of(tiny, engine=engine, slots=1000), larger)["memory"].remedy


def test_a_tight_fit_is_a_warning(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = read(str(tiny))
    needed = Need.of(weights, "float32", "cpu").total(2)
    monkeypatch.setattr(footprint, "free_host_bytes", lambda: int(needed / 0.9))
    for device in ("cpu", "auto"):
        memory = found(settings_of(tiny, slots=2, device=device))["memory"]
        assert memory.state is State.WARN
        assert "in float32" in memory.detail
        assert "this machine" in memory.detail


def test_memory_nobody_tells_of_is_left_out(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprint, "free_host_bytes", lambda: None)
    assert found(settings_of(tiny, device="cpu")).keys() == {"weights"}
    assert found(settings_of(tiny, device="cuda:1"), H200).keys() == {"weights"}


@pytest.mark.parametrize(("engine", "state"), [("qwen", "fail"), ("auto", "warn")])
def test_an_incomplete_model_is_told_with_what_to_do(engine: str, state: str, tiny: Path, tmp_path: Path) -> None:
    folder = copy_of(tiny, tmp_path / "model")
    remove("model.safetensors")(folder)
    findings = found(settings_of(folder, engine=engine))
    assert findings.keys() == {"weights"}
    assert findings["weights"].state == state
    assert "lacks model.safetensors" in findings["weights"].detail
    assert "makima-tts model fetch" in findings["weights"].remedy


def test_the_weights_are_looked_at_where_they_would_be_used(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_qwen, "probe_torch", lambda: {"gpus": [], "why": "none here"})
    for engine, is_looked_at in (("qwen", True), ("auto", True), ("preview", False)):
        names = {finding.what for finding in check_qwen(settings_of(tiny, engine=engine))}
        assert ("weights" in names) is is_looked_at


@pytest.mark.parametrize(("engine", "state"), [("qwen", "fail"), ("auto", "warn")])
def test_a_gpu_number_that_is_not_there_is_told(
    engine: str, state: str, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_qwen, "probe_torch", lambda: {"gpus": [H200], "why": ""})
    findings = {f.what: f for f in check_qwen(settings_of(tiny, engine=engine, device="cuda:1"))}
    assert findings["gpu"].state == state
    assert "cuda:0" in findings["gpu"].remedy
    assert "memory" not in findings


@pytest.mark.parametrize("problem", [None, "Triton finds no C compiler: install gcc"])
def test_on_a_gpu_what_the_kernels_lack_is_told(
    problem: str | None, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_qwen, "triton_problem", lambda: problem)
    monkeypatch.setattr(doctor_qwen, "probe_torch", lambda: {"gpus": [H200], "why": ""})
    kernels = {f.what: f for f in check_qwen(settings_of(tiny))}["kernels"]
    assert kernels.state == (State.OK if problem is None else State.WARN)
    assert kernels.remedy == ("" if problem is None else "install gcc")
    assert "kernels" not in {f.what for f in check_qwen(settings_of(tiny, device="cpu"))}


# Which engine speaks.


def test_nothing_is_in_the_way_of_a_complete_model(tiny: Path) -> None:
    assert qwen_problem(settings_of(tiny)) is None
    (finding,) = check_engine(settings_of(tiny))
    assert (finding.state, finding.detail) == (State.OK, "qwen")


def test_auto_speaks_with_preview_and_says_why(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        engine = make_engine(settings_of(tmp_path, engine="auto"))
    assert isinstance(engine, PreviewEngine)
    engine.close()
    assert "PREVIEW" in caplog.text
    assert "no model directory" in caplog.text


def test_qwen_never_falls_back(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EngineError, match="no model directory"):
        make_engine(settings_of(tmp_path))
    monkeypatch.setattr(choose, "device_problem", lambda device: ModelError(f"no {device}"))
    with pytest.raises(EngineError, match="no cuda"):
        make_engine(settings_of(tiny, device="cuda"))


def test_a_device_is_judged_by_what_torch_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    assert torch_probe.device_problem("cpu") is torch_probe.device_problem("auto") is None
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert torch_probe.device_problem("cuda:0") is torch_probe.device_problem("cuda") is None
    error = torch_probe.device_problem("cuda:1")
    assert error is not None
    assert "cuda:0" in error.remedy
    assert not torch_probe.computes_on_cpu("auto")
    assert torch_probe.computes_on_cpu("cpu")
