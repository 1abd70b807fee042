"""Slots by device and memory: what "auto" takes, what is refused before the weights are loaded, what runs out later."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from worker.engine.checkpoint import GIB
from worker.engine.checkpoint import memory as footprint
from worker.engine.checkpoint.files import ModelError, Weights, read
from worker.engine.checkpoint.room import COMFORTABLE, Need, SlotCount, choose_slots
from worker.engine.qwen import QwenEngine, loader
from worker.engine.qwen.runner import ModelRunner

REAL = Need("Qwen3-TTS", "cuda", weights=int(2.2 * GIB), slot=227 << 20)  # the 0.6B model in bfloat16


@pytest.fixture
def weights(tiny: Path) -> Weights:
    return read(str(tiny))


@pytest.mark.parametrize(
    ("free_gib", "n_slots"), [(139, 64), (79, 64), (39, 64), (23, 60), (15, 34), (8, 11), (4.8, 1), (4.2, 1)]
)
def test_a_gpu_has_as_many_slots_as_are_of_use_or_fit_comfortably(free_gib: float, n_slots: int) -> None:
    chosen = choose_slots("auto", REAL, free_gib * GIB, "GPU")
    assert chosen == pytest.approx(n_slots, abs=1)
    assert REAL.total(chosen) <= free_gib * GIB
    assert chosen in (1, 64) or REAL.total(chosen + 1) > COMFORTABLE * free_gib * GIB


def test_a_cpu_has_eight_or_fewer(weights: Weights) -> None:
    need = Need.of(weights, "float32", "cpu")
    assert choose_slots("auto", need, 100 * GIB, "cpu") == choose_slots("auto", need, None, "cpu") == 8
    assert choose_slots("auto", need, need.total(3) / COMFORTABLE, "cpu") == 3


@pytest.mark.parametrize("kind", ["cuda", "cpu"])
def test_a_number_that_does_not_fit_is_refused_with_one_that_does(kind: str) -> None:
    need = replace(REAL, kind=kind)
    for free_gib in (5.0, 12.0, 16.5, 24.0):
        free = free_gib * GIB
        with pytest.raises(ModelError) as caught:
            choose_slots(200, need, free, "the device")
        assert f"{free_gib:.1f} GiB free" in caught.value.problem
        assert f"{need.slots(200) / GIB:.2f} GiB for 200 slots" in caught.value.problem
        (most,) = set(map(int, re.findall(r"(?:at most|--slots) (\d+)", str(caught.value.remedy))))
        assert choose_slots(most, need, free, "the device") == most
        with pytest.raises(ModelError):
            choose_slots(most + 1, need, free, "the device")


def test_where_not_even_one_fits_auto_is_refused_too_and_fewer_slots_are_no_remedy() -> None:
    choices: list[SlotCount] = ["auto", 1]
    for slots in choices:
        with pytest.raises(ModelError) as caught:
            choose_slots(slots, REAL, 3 * GIB, "GPU")
        assert "at most" not in str(caught.value)
        assert "end other processes" in str(caught.value)


def test_a_codec_in_float32_beside_a_talker_in_halves_counts_as_such(weights: Weights) -> None:
    on_cpu, on_gpu = (Need.of(weights, "bfloat16", kind) for kind in ("cpu", "cuda"))
    assert on_cpu.weights == on_gpu.weights + 2 * weights.n_codec_numbers
    assert on_cpu.slot == footprint.slot_bytes(weights, "bfloat16", codec_dtype="float32") > on_gpu.slot


class Loaded(Exception):
    """The weights would be loaded now."""


@pytest.fixture
def engine(tiny: Path) -> QwenEngine:
    return QwenEngine.load(str(tiny), device="cpu", slots=1, warm=False)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """A GPU by its memory alone; loading onto it raises Loaded."""
    memory = {"free": 80 * GIB, "reserved": 0}

    def load_weights(*_: object) -> None:
        raise Loaded

    monkeypatch.setattr(loader, "device_problem", lambda device: None)
    monkeypatch.setattr(loader, "_upstream", load_weights)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (memory["free"], 80 * GIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: memory["reserved"])
    return memory


def test_a_gpu_that_others_use_is_judged_by_what_they_leave_and_before_the_weights_are_loaded(
    gpu: dict[str, int], tiny: Path
) -> None:
    need = Need.of(read(str(tiny)), "bfloat16", "cuda")
    with pytest.raises(Loaded):
        QwenEngine.load(str(tiny), device="cuda", slots=100)
    gpu["free"] = need.total(99)
    with pytest.raises(ModelError, match="at most 99 slots"):
        QwenEngine.load(str(tiny), device="cuda", slots=100)
    with pytest.raises(Loaded):
        QwenEngine.load(str(tiny), device="cuda", slots="auto")
    with pytest.raises(Loaded):
        QwenEngine.load(str(tiny), device="cuda", slots=100, max_positions=512)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has …"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        MemoryError(),
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["__init__", "warm_up"])
def test_memory_that_runs_out_while_slots_are_made_or_graphs_captured_is_told(
    method: str, error: Exception, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        try:
            raise error
        finally:  # as torch.cuda.graph does when it is left
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")

    monkeypatch.setattr(ModelRunner, method, full)
    with pytest.raises(ModelError, match="2 slots") as caught:
        QwenEngine.load(str(tiny), device="cpu", slots=2)
    assert "fewer --slots" in str(caught.value)


def test_another_error_of_the_warm_up_is_not_taken_for_a_lack_of_memory(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(ModelRunner, "warm_up", breaks)
    with pytest.raises(RuntimeError, match="illegal"):
        QwenEngine.load(str(tiny), device="cpu", slots=2)


def test_the_memory_of_a_warm_engine_has_what_torch_does_not_count_and_not_what_comes_later(
    engine: QwenEngine, gpu: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.model = replace(engine.model, device=torch.device("cuda", 0), free_bytes=70 * GIB)
    monkeypatch.setattr(engine._runner, "warm_up", lambda: None)
    gpu.update(free=50 * GIB, reserved=17 * GIB)
    assert engine.memory_bytes == 17 * GIB
    engine.warm_up()
    assert engine.memory_bytes == 20 * GIB
    gpu.update(free=10 * GIB, reserved=18 * GIB)
    assert engine.memory_bytes == 21 * GIB
    engine._runner.replayers[0].n_eager["frame"] = 3
    assert engine.eager_launches == {"frame": 3, "prefill": 0, "codec": 0}
