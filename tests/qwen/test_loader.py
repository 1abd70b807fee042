"""Loading a model: what comes of it, and a refusal in one line for each way it can fail."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import REPOSITORY
from tests.qwen.conftest import SAMPLE_RATE_HZ, reference_audio
from tests.qwen.damage import Break, change, copy_of, in_shards, replace, without_tensor
from tests.shell import ENVIRONMENT
from worker.engine.base import EngineError
from worker.engine.checkpoint import memory as footprint
from worker.engine.checkpoint import packages
from worker.engine.checkpoint.files import ModelError, read
from worker.engine.checkpoint.room import Need
from worker.engine.qwen import loader
from worker.engine.qwen.loader import Model, load

NO_GPU = "this machine has a CUDA device"


@pytest.fixture(scope="module")
def model(tiny: Path) -> Model:
    return load(str(tiny), device="cpu", dtype="float32")


def refusal(folder: object, **how: str) -> str:
    with pytest.raises(ModelError) as caught:
        load(str(folder), **{"device": "cpu", **how})  # type: ignore[arg-type]
    assert isinstance(caught.value, EngineError)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_model_is_ready_to_run_and_not_to_learn(model: Model, tiny: Path) -> None:
    assert (model.name, model.device.type, model.dtype, model.attention) == ("tiny", "cpu", torch.float32, "sdpa")
    for module in (model.talker, model.codec):
        assert not module.training
        assert {parameter.dtype for parameter in module.parameters()} == {torch.float32}
        assert not any(parameter.requires_grad for parameter in module.parameters())
    assert model.generation["repetition_penalty"] == 1.05
    assert model.tokenizer("<|im_start|>assistant\nhi").input_ids
    assert model.fingerprint == read(str(tiny)).fingerprint()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_another_number_format_is_taken_on_request(dtype: str, tiny: Path) -> None:
    model = load(str(tiny), device="cpu", dtype=dtype)
    assert model.dtype == getattr(torch, dtype)
    assert {parameter.dtype for parameter in model.talker.parameters()} == {model.dtype}


def test_a_recording_is_encoded_as_upstream_does(model: Model, upstream: object) -> None:
    audio = reference_audio(3, seconds=3.1)
    codes, embedding = model.encode_reference(audio, SAMPLE_RATE_HZ, "one two", "icl")
    (theirs,) = upstream.create_voice_clone_prompt((audio, SAMPLE_RATE_HZ), ref_text="one two")  # type: ignore[attr-defined]
    assert codes is not None
    assert (codes.dtype, codes.shape[1]) == (torch.int64, 16)
    assert torch.equal(codes, theirs.ref_code)
    assert torch.equal(embedding, theirs.ref_spk_embedding)
    assert not codes.is_inference()
    assert not embedding.is_inference()


def test_a_recording_for_its_voice_alone_has_no_codes(model: Model) -> None:
    audio = reference_audio(4, seconds=3.0)
    codes, embedding = model.encode_reference(audio, SAMPLE_RATE_HZ, None, "x_vector")
    assert codes is None
    assert torch.equal(embedding, model.encode_reference(audio, SAMPLE_RATE_HZ, "hi", "icl")[1])
    with pytest.raises(ValueError, match="ref_text"):
        model.encode_reference(audio, SAMPLE_RATE_HZ, None, "icl")


def test_weights_in_shards_are_the_same_weights(model: Model, tiny: Path, tmp_path: Path) -> None:
    folder = copy_of(tiny, tmp_path / "shards")
    in_shards(folder)
    ours, theirs = load(str(folder), device="cpu", dtype="float32").talker.state_dict(), model.talker.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (without_tensor("model.safetensors", "talker.codec_head.weight"), "lack 1 tensors, talker.codec_head.weight"),
        (without_tensor("speech_tokenizer/model.safetensors", "decoder.pre_conv.conv.weight"), "lack 1 tensors"),
        (change("config.json", talker_config={"hidden_size": 64}), "fetch the model again"),
        (replace("generation_config.json", b"{"), "fetch the model again"),
        (replace("vocab.json", b"[]"), "fetch the model again"),
        (replace("speech_tokenizer/preprocessor_config.json", b"{}"), "fetch the model again"),
    ],
)
def test_files_that_do_not_fit_each_other_are_refused(
    broken: Break, said: str, tiny: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = copy_of(tiny, tmp_path / "model")
    broken(folder)
    assert said in refusal(folder)


def test_another_checkpoint_has_another_fingerprint(model: Model, tiny_ending: Path) -> None:
    assert load(str(tiny_ending), device="cpu").fingerprint != model.fingerprint


# What this machine cannot do.


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"dtype": "int8"}, "use auto, bfloat16, float16, float32, float64"),
        ({"kernels": "fast"}, "use auto, triton, loops or torch"),
        ({"kernels": "loops", "dtype": "bfloat16"}, "use kernels=auto"),
        ({"device": "mps"}, "use cuda or cpu"),
        ({"device": "tpu"}, "use cuda or cpu"),
        ({"attention": "eager"}, "use auto, flash or sdpa"),
        ({"attention": "flash"}, "it runs on CUDA only; use sdpa"),
    ],
)
def test_what_is_not_offered_is_told_with_what_is(how: dict[str, str], said: str, tiny: Path) -> None:
    assert said in refusal(tiny, **how)


@pytest.mark.skipif(torch.cuda.is_available(), reason=NO_GPU)
def test_a_missing_gpu_is_told_with_the_reason(tiny: Path) -> None:
    for device in ("cuda", "cuda:1"):
        message = refusal(tiny, device=device)
        assert message.startswith("no CUDA device: ")
        assert "--device cpu" in message
    assert load(str(tiny)).device.type == "cpu"


def test_a_gpu_number_that_is_not_there_is_told(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert "cuda:0 to cuda:1" in refusal(tiny, device="cuda:2")


def test_too_little_memory_is_told_before_anything_is_read(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needed = Need.of(read(str(tiny)), "float32", "cpu").total(1)
    monkeypatch.setattr(footprint, "free_host_bytes", lambda: needed - 1)
    message = refusal(tiny, dtype="float32")
    assert "too little memory for tiny" in message
    assert "cpu has 0.0 GiB free" in message
    monkeypatch.setattr(footprint, "free_host_bytes", lambda: needed)
    assert load(str(tiny), device="cpu", dtype="float32").name == "tiny"


def test_memory_that_runs_out_while_loading_is_told(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB.\nGPU 0 has ...")

    monkeypatch.setattr(loader._import_upstream(), "from_pretrained", full)
    message = refusal(tiny)
    assert "CUDA out of memory. Tried to allocate 2.00 MiB.; " in message
    assert "end other processes" in message


def test_versions_that_do_not_go_together_are_refused_before_the_import(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "installed", lambda name: "2.12.0")
    assert "torch 2.12.0 (needed:" in refusal(tiny)


# Starting.


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=REPOSITORY,
        env=ENVIRONMENT | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_the_module_itself_starts_without_qwen_tts_and_loading_is_silent(tiny: Path) -> None:
    """One process for both: starting it takes seconds. HF_ENDPOINT leads nowhere: loading asks no network."""
    done = run(
        "import sys\n"
        "from worker.engine.qwen.loader import load\n"
        "print(*({'qwen_tts', 'transformers', 'librosa'} & sys.modules.keys()))\n"
        f"print(load({str(tiny)!r}, device='cpu').name)\n",
        HF_ENDPOINT="http://127.0.0.1:1",
    )
    assert done.stdout == "\ntiny\n"
    assert done.stderr == ""


def test_a_qwen_tts_that_cannot_be_imported_is_told(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "qwen_tts.py").write_text("raise ImportError('libcudart.so.13 is missing')")
    done = run(
        "from worker.engine.qwen.loader import ModelError, load\n"
        "try:\n"
        f"    load({str(tiny)!r}, device='cpu')\n"
        "except ModelError as error:\n"
        "    print(error)\n",
        PYTHONPATH=str(tmp_path),
    )
    assert "qwen-tts cannot be imported (libcudart.so.13 is missing); pip install" in done.stdout


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_the_weights_lie_there_in_bfloat16(tiny: Path) -> None:
    model = load(str(tiny))
    assert (model.device, model.dtype) == (torch.device("cuda", 0), torch.bfloat16)
    for module in (model.talker, model.codec):
        assert {(p.device, p.dtype) for p in module.parameters()} == {(model.device, model.dtype)}
        assert {b.device for b in module.buffers()} == {model.device}
    codes, embedding = model.encode_reference(reference_audio(3, seconds=3.0), SAMPLE_RATE_HZ, "hi", "icl")
    assert codes is not None
    assert codes.device == embedding.device == model.device
    assert np.isfinite(embedding.float().cpu().numpy()).all()
