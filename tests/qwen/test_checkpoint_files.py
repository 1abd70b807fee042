"""A model on disk is found, measured, or refused with a remedy, without torch and without reading the weights."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.qwen.damage import Break, change, copy_of, in_shards, remove, replace, truncate
from worker.engine.checkpoint import memory as footprint
from worker.engine.checkpoint import packages
from worker.engine.checkpoint.files import ModelError, find, read, shown_name

CODEC = "speech_tokenizer"


def refusal(name: object) -> str:
    with pytest.raises(ModelError) as caught:
        read(str(name))
    return str(caught.value)


def test_a_whole_model_is_measured(tiny: Path) -> None:
    weights = read(str(tiny))
    assert (weights.folder, weights.name) == (tiny, "tiny")
    assert [file.name for file in weights.files] == ["model.safetensors", f"{CODEC}/model.safetensors"]
    assert weights.n_bytes == sum(path.stat().st_size for path in tiny.rglob("*.safetensors"))
    assert 4 * weights.n_numbers == pytest.approx(weights.n_bytes, rel=0.01)  # stored in float32
    assert "talker.codec_head.weight" in weights.tensors(of_the_codec=False)
    assert not weights.tensors(of_the_codec=False) & weights.tensors(of_the_codec=True)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (remove("config.json"), "config.json is missing: this is no model directory"),
        (remove("generation_config.json"), "it lacks generation_config.json"),
        (remove("tokenizer_config.json"), "it lacks tokenizer_config.json"),
        (remove("vocab.json", "merges.txt"), "it lacks vocab.json, merges.txt"),
        (remove("model.safetensors"), "it lacks model.safetensors"),
        (remove(f"{CODEC}/model.safetensors"), f"it lacks {CODEC}/model.safetensors"),
        (remove(f"{CODEC}/config.json"), f"it lacks {CODEC}/config.json"),
        (remove(f"{CODEC}/preprocessor_config.json"), f"it lacks {CODEC}/preprocessor_config.json"),
        (change("config.json", model_type="qwen3"), "holds a 'qwen3' model, not qwen3_tts"),
        (
            change("config.json", tts_model_type="custom_voice"),
            "a 'custom_voice' model, which cannot speak with a voice",
        ),
        (change("config.json", tts_model_type="voice_design"), "use a Base model such as Qwen/"),
        (change("config.json", tokenizer_type="qwen3_tts_tokenizer_25hz"), "use a 12Hz model such as Qwen/"),
        (change(f"{CODEC}/config.json", model_type="mimi"), "is a 'mimi', not qwen3_tts_tokenizer_12hz"),
        (replace("config.json", b"{"), "config.json is not JSON"),
        (replace("config.json", b"[]"), "config.json is not a JSON object"),
        (replace("config.json", b"\xff\xfe"), "config.json is not JSON"),
        (truncate("model.safetensors", 1), "model.safetensors is damaged ("),
        (truncate(f"{CODEC}/model.safetensors", 1000), "is damaged"),
        (replace("model.safetensors", b""), "is damaged ("),
        (replace("model.safetensors", b"version https://git-lfs.github.com/spec/v1\n"), "is damaged ("),
        (replace("model.safetensors", (9).to_bytes(8, "little") + b'{"a": {}}'), "is damaged ("),
    ],
)
def test_what_is_wrong_is_named(broken: Break, said: str, tiny: Path, tmp_path: Path) -> None:
    folder = copy_of(tiny, tmp_path / "model")
    broken(folder)
    message = refusal(folder)
    assert said in message
    assert "\n" not in message
    assert "use " in message or "makima-tts model fetch" in message


def test_weights_in_shards_are_all_looked_at(tiny: Path, tmp_path: Path) -> None:
    folder = copy_of(tiny, tmp_path / "model")
    in_shards(folder)
    weights = read(str(folder))
    assert len(weights.files) == 3
    assert weights.tensors(of_the_codec=False) == read(str(tiny)).tensors(of_the_codec=False)
    (folder / "model-00002-of-00002.safetensors").unlink()
    assert "model-00002-of-00002.safetensors cannot be read" in refusal(folder)
    replace("model.safetensors.index.json", b"{}")(folder)
    assert "names no weights" in refusal(folder)


@pytest.mark.parametrize("name", ["", " ", "absent", "a/b/c", "../x", "/no/such/folder", "Qwen/"])
def test_what_is_neither_directory_nor_hub_name_is_told_a_hub_name(name: str) -> None:
    assert "such as Qwen/Qwen3-TTS-12Hz-0.6B-Base" in refusal(name)


def test_a_file_is_answered_with_its_directory(tiny: Path) -> None:
    assert "name its directory" in refusal(tiny / "config.json")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_a_hub_name_is_looked_for_in_the_hubs_cache_only(tiny: Path, hub: Path) -> None:
    assert "run: makima-tts model fetch Somebody/Tiny-Base" in refusal("Somebody/Tiny-Base")
    repository = hub / "models--Somebody--Tiny-Base"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0123abc")
    copy_of(tiny, repository / "snapshots" / "0123abc")
    assert read("Somebody/Tiny-Base").name == "Tiny-Base"
    (repository / "snapshots" / "0123abc" / "model.safetensors").unlink()
    assert "makima-tts model fetch Somebody/Tiny-Base" in refusal("Somebody/Tiny-Base")


def test_a_home_directory_may_be_written_short(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = copy_of(tiny, tmp_path / "model")
    assert find("~/model") == folder


def test_the_name_is_short_and_plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown_name("Qwen/Qwen3-TTS-12Hz-0.6B-Base") == "Qwen3-TTS-12Hz-0.6B-Base"
    monkeypatch.chdir(tmp_path)
    odd = tmp_path / ("声\n" + "x" * 100)
    odd.mkdir()
    assert shown_name(str(odd)) == "__" + "x" * 62
    assert shown_name(".") == tmp_path.name
    assert shown_name("/") == "qwen3-tts"


def test_the_fingerprint_is_of_all_weights_and_of_nothing_else(tiny: Path, tmp_path: Path) -> None:
    folder = copy_of(tiny, tmp_path / "elsewhere")
    (folder / "README.md").write_text("more")
    first = read(str(tiny)).fingerprint()
    assert read(str(folder)).fingerprint() == first
    codec = folder / CODEC / "model.safetensors"
    content = codec.read_bytes()
    replace(f"{CODEC}/model.safetensors", content[:-1] + bytes([content[-1] ^ 1]))(folder)
    assert read(str(folder)).fingerprint() != first


def test_weights_that_go_away_are_told(tiny: Path, tmp_path: Path) -> None:
    weights = read(str(copy_of(tiny, tmp_path / "model")))
    (tmp_path / "model" / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        weights.fingerprint()


def test_looking_at_a_model_loads_no_torch(tiny: Path) -> None:
    look = f"from worker.engine.checkpoint.files import read; read({str(tiny)!r})"
    code = f"import sys; {look}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# Memory.


def test_a_slot_of_the_real_model_takes_what_its_config_says(tiny: Path) -> None:
    # Qwen3-TTS-12Hz-0.6B-Base, and the codec's state as counted by hand.
    assert footprint.cache_numbers({"num_hidden_layers": 28, "num_key_value_heads": 8, "head_dim": 128}) == 117_440_512
    decoder = {
        "latent_dim": 1024, "decoder_dim": 1536, "codebook_dim": 512, "hidden_size": 1024, "num_attention_heads": 16,
        "num_key_value_heads": 16, "num_hidden_layers": 8, "sliding_window": 72, "upsampling_ratios": [2, 2],
        "upsample_rates": [8, 5, 4, 3],
    }  # fmt: skip
    assert footprint.codec_numbers(decoder) == 1_304_736
    weights = read(str(tiny))
    assert footprint.slot_bytes(weights, "float64") == 4 * footprint.slot_bytes(weights, "bfloat16")
    assert footprint.weights_bytes(weights, "float32") == 4 * weights.n_numbers


def test_a_config_that_says_too_little_is_named(tiny: Path, tmp_path: Path) -> None:
    folder = copy_of(tiny, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    del config["talker_config"]["head_dim"]
    replace("config.json", json.dumps(config).encode())(folder)
    with pytest.raises(ModelError, match="lacks 'head_dim'"):
        footprint.slot_bytes(read(str(folder)), "float32")


def test_a_containers_limit_counts_before_the_machines_memory(tmp_path: Path) -> None:
    proc, cgroup = tmp_path / "proc", tmp_path / "cgroup"
    assert footprint.free_host_bytes(proc, cgroup) is None
    for folder in (proc, cgroup):
        folder.mkdir()
    (proc / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable: 8 kB\n")
    assert footprint.free_host_bytes(proc, cgroup) == 8192
    (cgroup / "memory.max").write_text("5000\n")
    (cgroup / "memory.current").write_text("4000\n")
    (cgroup / "memory.stat").write_text("anon 3000\ninactive_file 500\n")
    assert footprint.free_host_bytes(proc, cgroup) == 1500
    (cgroup / "memory.max").write_text("max\n")
    assert footprint.free_host_bytes(proc, cgroup) == 8192


# Packages.


def test_the_packages_here_go_together() -> None:
    assert packages.package_problem() is None


@pytest.mark.parametrize(
    ("versions", "said"),
    [
        ({"torch": "2.12.0"}, "torch 2.12.0 (needed: ==2.11.*)"),
        ({"torchaudio": "2.10.1+cpu"}, "torchaudio 2.10.1+cpu (needed: ==2.11.*)"),
        ({"transformers": "5.0.0", "qwen-tts": "0.1.2"}, "transformers 5.0.0 (needed: ==4.57.3), qwen-tts 0.1.2"),
        ({"qwen-tts": None}, "not installed: qwen-tts"),
    ],
)
def test_wrong_versions_are_told_with_the_right_ones(
    versions: dict[str, str | None], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"torch": "2.11.0+cu130", "torchaudio": "2.11.0+cu130", "transformers": "4.57.3", "qwen-tts": "0.1.1"}
    monkeypatch.setattr(packages, "installed", (found | versions).get)
    problem = packages.package_problem()
    assert problem is not None
    assert said in problem.problem
    assert "pip install" in problem.remedy
