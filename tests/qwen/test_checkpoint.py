"""The made checkpoints: upstream loads them, speaks with them, and they are lively enough to find faults with."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks import checkpoint
from benchmarks.checkpoint_shapes import SIZES
from benchmarks.checkpoint_tokenizer import write_tokenizer
from tests.qwen.conftest import SAMPLE_RATE_HZ, reference_audio

GREEDY = {"do_sample": False, "subtalker_dosample": False}
SAMPLED = {"do_sample": True, "subtalker_dosample": True}
TEXTS = ["Hello.", "The quick brown fox jumps over the lazy dog.", "a", "こんにちは、元気ですか。", "Thirteen!"]


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def voice(model: Any, mode: str, seed: int = 1) -> Any:
    transcript = None if mode == "x_vector" else "hello there, my friend"
    return model.create_voice_clone_prompt((reference_audio(seed), SAMPLE_RATE_HZ), transcript, mode == "x_vector")


def speak(model: Any, text: str, mode: str, n_frames: int, **options: Any) -> NDArray[np.float32]:
    """Upstream's speech of at most n_frames: float32 [samples]."""
    import torch

    torch.manual_seed(1)
    (audio,), _ = model.generate_voice_clone(
        text, "English", voice_clone_prompt=voice(model, mode), max_new_tokens=n_frames + 1, **options
    )
    return np.asarray(audio, dtype=np.float32)


@pytest.mark.parametrize("mode", ["icl", "x_vector"])
@pytest.mark.parametrize("is_whole_text", [True, False], ids=["whole text", "per frame"])
@pytest.mark.parametrize("draw", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_upstream_speaks_audibly(upstream: Any, mode: str, is_whole_text: bool, draw: dict[str, bool]) -> None:
    audio = speak(upstream, TEXTS[0], mode, 8, non_streaming_mode=is_whole_text, **draw)

    assert abs(len(audio) - 8 * 1920) <= 1  # upstream cuts the reference one sample early now and then
    assert np.isfinite(audio).all()
    assert 0.05 < np.abs(audio).max() <= 1
    assert (np.abs(audio) > 0.999).mean() < 0.01


def test_greedy_speech_does_not_fall_into_a_loop(upstream: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = caught_codes(upstream, monkeypatch)

    speak(upstream, TEXTS[1], "x_vector", 40, non_streaming_mode=True, **GREEDY)

    assert len(codes[0]) == 40
    assert len(set(codes[0][:, 0].tolist())) > 20
    assert len(set(codes[0][:, 15].tolist())) > 20


def caught_codes(model: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A list that every later utterance of the model appends its codes to (after those of the reference)."""
    codes: list[Any] = []
    decode = model.model.speech_tokenizer.decode

    def catching(encoded: Any) -> Any:
        codes.append(encoded[0]["audio_codes"])
        return decode(encoded)

    monkeypatch.setattr(model.model.speech_tokenizer, "decode", catching)
    return codes


def test_references_become_varied_codes_and_voices_of_their_own(upstream: Any) -> None:
    (one,), (other,) = voice(upstream, "icl", seed=1), voice(upstream, "icl", seed=2)

    assert one.ref_code.shape == (50, 16)
    assert all(len(set(column.tolist())) > 10 for column in one.ref_code.T)
    assert int(one.ref_code.min()) >= 0
    assert int(one.ref_code.max()) < 2048
    assert (one.ref_code != other.ref_code).float().mean() > 0.5
    assert (one.ref_spk_embedding - other.ref_spk_embedding).std() > 0.1


def test_the_chat_template_is_cut_where_upstream_cuts_it(upstream: Any) -> None:
    tokenizer, config = upstream.processor.tokenizer, upstream.model.config
    text = TEXTS[3]

    ids = upstream._tokenize_texts([upstream._build_assistant_text(text)])[0][0].tolist()
    reference_ids = upstream._tokenize_texts([upstream._build_ref_text(text)])[0][0].tolist()

    newline = tokenizer("\n")["input_ids"]
    assert ids[:3] == [config.im_start_token_id, config.assistant_token_id, *newline]
    assert ids[-5:] == [config.im_end_token_id, *newline, *ids[:3]]
    assert tokenizer.decode(ids[3:-5]) == text
    assert reference_ids[3:-2] == ids[3:-5]
    assert len({config.tts_pad_token_id, config.tts_bos_token_id, config.tts_eos_token_id}) == 3
    assert max(ids) < config.talker_config.text_vocab_size


def test_the_full_size_numbers_its_special_tokens_as_the_real_model_does(tmp_path: Path) -> None:
    ids = write_tokenizer(tmp_path, SIZES["full"].text_vocab_size)

    real = {"im_start": 151644, "im_end": 151645, "tts_pad": 151671, "tts_bos": 151672, "tts_eos": 151673}
    assert {name: ids[f"{name}_token_id"] for name in real} == real


def test_a_text_that_begins_with_newlines_shifts_the_cut_as_in_the_real_vocabulary(upstream: Any) -> None:
    ids = upstream._tokenize_texts([upstream._build_assistant_text("\nHello.")])[0][0].tolist()

    assert upstream.processor.tokenizer.decode(ids[3:-5]) == "Hello."


def test_raising_the_end_makes_utterances_end_by_themselves(tiny_ending: Path) -> None:
    import torch
    from qwen_tts import Qwen3TTSModel

    model = Qwen3TTSModel.from_pretrained(tiny_ending, dtype=torch.float32)

    lengths = [len(speak(model, text, "icl", 40, non_streaming_mode=True, **GREEDY)) // 1920 for text in TEXTS]

    assert min(lengths) < 15
    assert max(lengths) - min(lengths) >= 10
    assert sum(n_frames < 39 for n_frames in lengths) >= 3


def test_without_it_the_end_is_never_drawn(upstream: Any) -> None:
    assert not upstream.model.talker.codec_head.weight[upstream.model.config.talker_config.codec_eos_token_id].any()


def test_the_same_seed_makes_the_same_files_and_another_seed_others(tiny: Path, tmp_path: Path) -> None:
    checkpoint.write("tiny", tmp_path / "same")
    checkpoint.write("tiny", tmp_path / "other", seed=1)

    same, other = digests(tmp_path / "same"), digests(tmp_path / "other")

    assert same == digests(tiny)
    assert {name for name in same if same[name] != other[name]} == {
        "model.safetensors",
        "speech_tokenizer/model.safetensors",
    }
