"""doctor: Python, packages, torch and GPUs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY, make_settings
from tests.findings import NOBODY_THERE, by_name, states
from worker.commands.doctor import installed as doctor_installed
from worker.commands.doctor import qwen as doctor_qwen
from worker.commands.doctor.findings import Finding, State
from worker.commands.doctor.installed import check_base, check_preview, check_python
from worker.commands.doctor.qwen import check_qwen, probe_torch
from worker.engine.checkpoint.packages import fits


@pytest.fixture(autouse=True)
def _no_settings_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("version", "state"), [((3, 10, 9), "fail"), ((3, 11, 0), "ok"), ((3, 13, 2), "ok"), ((3, 14, 0), "fail")]
)
def test_python_311_to_313_will_do(version: tuple[int, ...], state: str) -> None:
    assert check_python(version).state == state


def test_the_base_packages_are_those_of_our_own_metadata() -> None:
    (finding,) = check_base()
    assert finding.state is State.OK
    for name in ("redis", "msgpack", "numpy", "typer"):
        assert f"{name} " in finding.detail
    assert "torch" not in finding.detail
    assert "pytest" not in finding.detail


def test_a_base_package_that_is_missing_or_too_old_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        doctor_installed, "installed", lambda name: {"redis": "7.4.0", "msgpack": None}.get(name, "99.0")
    )
    (finding,) = check_base()
    assert finding.state is State.FAIL
    assert "redis" in finding.detail
    assert "7.4.0" in finding.detail
    assert "none" in finding.detail


def test_a_checkout_that_was_never_installed_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def requires(_: str) -> list[str]:
        raise PackageNotFoundError

    monkeypatch.setattr(doctor_installed, "requires", requires)
    (finding,) = check_base()
    assert finding.state is State.FAIL


def test_a_version_fits_with_its_local_part_or_as_a_prerelease_and_not_when_it_cannot_be_read() -> None:
    assert fits("8.10.0", "<9,>=8.1")
    assert fits("2.11.0+cu130", "==2.11.*")
    assert fits("2.11.0rc1", "==2.11.*")
    assert not fits("unknown", ">=1")


@pytest.mark.parametrize(("engine", "state"), [("preview", "fail"), ("auto", "warn")])
def test_missing_preview_packages_are_told(engine: str, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_installed, "installed", lambda name: None)
    assert states(check_preview(make_settings(NOBODY_THERE, engine=engine))) == {
        "espeak-ng": state,
        "embedded Valkey": "warn",
    }


@pytest.mark.parametrize(("engine", "state"), [("preview", "ok"), ("auto", "warn"), ("qwen", "fail")])
def test_missing_qwen_packages_matter_as_much_as_the_engine_needs_them(
    engine: str, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_qwen, "installed", lambda name: None)
    assert states(check_qwen(make_settings(NOBODY_THERE, engine=engine))) == {"qwen packages": state}


def with_qwen(
    monkeypatch: pytest.MonkeyPatch, probe: dict[str, Any], **versions: str
) -> Callable[..., dict[str, Finding]]:
    here = {"torch": "2.11.0+cu130", "torchaudio": "2.11.0+cu130", "transformers": "4.57.3", "qwen-tts": "0.1.1"}
    monkeypatch.setattr(doctor_qwen, "installed", (here | versions).get)
    monkeypatch.setattr(doctor_qwen, "probe_torch", lambda: probe)
    return lambda **settings: by_name(check_qwen(make_settings(NOBODY_THERE, **settings)))


H200 = {"name": "NVIDIA H200", "free_gib": 138.1, "total_gib": 139.8}


def test_a_gpu_is_named_with_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    found = with_qwen(monkeypatch, {"gpus": [H200], "why": ""})(engine="auto")
    assert {finding.state for finding in found.values()} == {State.OK}
    assert found["gpu"].detail == "NVIDIA H200 (138.1 of 139.8 GiB free)"


def test_torch_and_torchaudio_of_different_versions_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    found = with_qwen(monkeypatch, {"gpus": [H200], "why": ""}, torchaudio="2.10.1")(engine="auto")
    assert found["qwen packages"].state is State.FAIL
    assert "2.11.*" in found["qwen packages"].remedy


@pytest.mark.parametrize(
    ("settings", "state"),
    [
        ({"engine": "qwen"}, "warn"),
        ({"engine": "qwen", "device": "cuda"}, "fail"),
        ({"engine": "auto", "device": "cuda:1"}, "warn"),
        ({"engine": "auto", "device": "cpu"}, "ok"),
        ({"engine": "preview"}, "ok"),
    ],
)
def test_no_gpu_matters_where_one_is_asked_for(
    settings: dict[str, str], state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = with_qwen(monkeypatch, {"gpus": [], "why": "torch was built without CUDA"})(**settings)
    assert found["gpu"].state == state
    assert "built without CUDA" in found["gpu"].detail


@pytest.mark.parametrize(("engine", "state"), [("preview", "warn"), ("auto", "fail")])
def test_a_torch_that_cannot_be_imported_is_told(engine: str, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = with_qwen(monkeypatch, {"error": "ImportError: libcudart.so"}, **{"flash-attn": "2.8.3"})(engine=engine)
    assert found["gpu"].state == state
    assert "libcudart.so" in found["gpu"].detail
    assert found["flash-attn"].detail == "flash-attn 2.8.3"


TORCH = """
from types import SimpleNamespace
__version__ = "2.11.0"
version = SimpleNamespace(cuda={cuda!r})
def _init():
    raise RuntimeError("no driver\\nmore of it")
cuda = SimpleNamespace(
    is_available=lambda: {n} > 0, device_count=lambda: {n}, mem_get_info=lambda n: (2**30, 2**31),
    get_device_name=lambda n: f"GPU {{n}}", init={init},
)
"""


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (TORCH.format(cuda="13.0", n=2, init="_init"), "GPU 1"),
        (TORCH.format(cuda=None, n=0, init="_init"), "built without CUDA"),
        (TORCH.format(cuda="13.0", n=0, init="_init"), "no driver"),
        (TORCH.format(cuda="13.0", n=0, init="lambda: None"), "sees no device"),
        ("raise ImportError('libcudart is missing')", "ImportError: libcudart is missing"),
        ("import os; os._exit(3)", "status 3"),
        ("import time; time.sleep(60)", "no answer within 2 s"),
    ],
    ids=["gpus", "no-cuda-build", "no-driver", "no-device", "broken", "dies", "hangs"],
)
def test_torch_is_asked_in_a_process_of_its_own(
    source: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torch.py").write_text(source, "utf-8")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{REPOSITORY}")
    here = sys.modules.get("torch")  # other tests may have loaded the real one
    assert expected in json.dumps(probe_torch(2.0 if "sleep" in source else 60.0))
    assert sys.modules.get("torch") is here
