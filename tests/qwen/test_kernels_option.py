"""Which kernels an engine runs on: Triton's on a GPU where it can, and what is missing is named."""

from __future__ import annotations

import logging
import shutil
import sysconfig
from pathlib import Path

import pytest
import torch

from worker.engine.checkpoint import kernels
from worker.engine.checkpoint.files import ModelError
from worker.engine.qwen import loader

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


def test_a_cpu_runs_its_loops_in_float32_and_eager_torch_else() -> None:
    assert loader._kernels("auto", CPU, torch.float32) == "loops"
    assert loader._kernels("auto", CPU, torch.float64) == "torch"


@pytest.mark.parametrize(("installed", "chosen"), [(None, "triton"), ("no Triton", "torch")])
def test_a_gpu_runs_triton_where_it_can(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, installed: str | None, chosen: str
) -> None:
    monkeypatch.setattr(loader, "triton_problem", lambda: installed)
    with caplog.at_level(logging.WARNING):
        assert loader._kernels("auto", GPU, torch.bfloat16) == chosen
    assert [installed in message for message in caplog.messages if installed] == ([True] if installed else [])
    assert loader._kernels("torch", GPU, torch.bfloat16) == "torch"


def test_triton_on_a_cpu_is_for_its_interpreter_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert loader._kernels("triton", CPU, torch.float32) == "triton"
    monkeypatch.delenv("TRITON_INTERPRET")
    with pytest.raises(ModelError, match="CUDA"):
        loader._kernels("triton", CPU, torch.float32)


def test_kernels_that_cannot_run_are_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "triton_problem", lambda: "the reason")
    with pytest.raises(ModelError, match=r"the reason.*kernels=torch"):
        loader._kernels("triton", GPU, torch.bfloat16)
    with pytest.raises(ModelError, match="use auto, triton"):
        loader._kernels("cuda", GPU, torch.bfloat16)


def test_what_triton_lacks_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(kernels, "find_spec", lambda _: object())
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert "gcc" in str(kernels.triton_problem())
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/gcc" if name == "gcc" else None)
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    assert "Python.h" in str(kernels.triton_problem())
    (tmp_path / "Python.h").touch()
    assert kernels.triton_problem() is None
    monkeypatch.setattr(kernels, "find_spec", lambda _: None)
    assert "triton" in str(kernels.triton_problem())
