"""bfloat16 on a CPU: chosen where the processor multiplies it, for talker and predictor; the codec stays float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.qwen.conftest import reference_audio
from worker.engine import processor
from worker.engine.base import SAMPLE_RATE_HZ
from worker.engine.checkpoint import memory as footprint
from worker.engine.qwen import QwenEngine, Sampling, SpeechRequest

ZEN_2 = "processor\t: 0\nvendor_id\t: AuthenticAMD\nflags\t\t: fpu avx2 fma\nbugs\t\t: none\n"
SKYLAKE = ZEN_2.replace("avx2", "avx2 avx512f avx512bw avx512_vnni")
ZEN_4 = SKYLAKE.replace("avx512_vnni", "avx512_vnni avx512_bf16")
SAPPHIRE_RAPIDS = ZEN_4.replace("fma", "fma amx_bf16 amx_tile amx_int8")
ARM = "processor\t: 0\nFeatures\t: fp asimd bf16\n"
LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")


def on(cpuinfo: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What "auto" means on the CPU that /proc/cpuinfo describes so."""
    file = folder / "cpuinfo"
    file.write_text(cpuinfo)
    monkeypatch.setattr(processor, "CPUINFO", file)
    return footprint.dtype_for("auto", "cpu")


@pytest.fixture(autouse=True)
def _no_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LIMITS:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("cpuinfo", "dtype"),
    [
        (ZEN_4, "bfloat16"),
        (SAPPHIRE_RAPIDS, "bfloat16"),
        (SKYLAKE, "float32"),
        (ZEN_2, "float32"),
        (ARM, "float32"),
        ("flags", "float32"),
        ("", "float32"),
    ],
)
def test_auto_is_bfloat16_where_the_processor_multiplies_it(
    cpuinfo: str, dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert on(cpuinfo, tmp_path, monkeypatch) == dtype
    assert footprint.dtype_for("float64", "cpu") == "float64", "a choice stays"
    assert footprint.dtype_for("auto", "cuda:1") == "bfloat16"


def test_a_machine_that_names_no_processor_keeps_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "absent")
    assert footprint.dtype_for("auto", "cpu") == "float32"


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize(
    ("limit", "dtype"),
    [("AVX2", "float32"), ("avx512_core", "float32"), ("AVX512_CORE_BF16", "bfloat16"), ("ALL", "bfloat16")],
)  # fmt: skip
def test_an_operators_limit_of_instructions_counts(
    name: str, limit: str, dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, limit)
    assert on(SAPPHIRE_RAPIDS, tmp_path, monkeypatch) == dtype


def test_its_samples_are_those_that_a_float32_engine_makes_of_its_codes(tiny: Path) -> None:
    """So a worker in float32 that takes an utterance over continues it on the same samples, and the other way round."""
    half, full = (QwenEngine.load(str(tiny), device="cpu", dtype=dtype, slots=2) for dtype in ("bfloat16", "float32"))
    assert {p.dtype for p in half.model.talker.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in half.model.codec.parameters()} == {half.model.codec_dtype} == {torch.float32}
    audio = reference_audio(3, seconds=1.0)
    voices = [engine.prompt(audio, SAMPLE_RATE_HZ, "Hello.", "icl") for engine in (half, full)]
    spoken = half.synthesize([SpeechRequest(text="Hello there.", voice=voices[0], seed=1, max_frames=9)])[0]
    assert spoken.codes.shape == (9, 16)
    assert np.isfinite(spoken.pcm).all()
    with torch.inference_mode():
        full._runner.codec.reset(0, voices[1].state)
        again = full._runner.codec.decode([0], spoken.codes[None]).wait()[0]
    assert np.array_equal(spoken.pcm, again)
    greedy = SpeechRequest(text="Hello.", voice=voices[0], sampling=Sampling(greedy=True), max_frames=5)
    alone, other = half.synthesize([greedy])[0], half.synthesize([greedy])[0]
    assert np.array_equal(alone.codes, other.codes)
