"""The tokenizer of a made checkpoint: bytes, the special tokens, and a few words."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

# The real tokenizer's, in its order: they follow the vocabulary, from 151643 there.
SPECIAL = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>"),
    *("<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>"),
    *("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"),
    *("<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>"),
    *("<|repo_name|>", "<|file_sep|>", "<tool_response>", "</tool_response>", "<think>", "</think>"),
    *("<|audio_start|>", "<|audio_end|>", "<tts_pad>", "<tts_text_bos>", "<tts_text_eod>", "<tts_text_bos_single>"),
    "<|audio_pad|>",
)
N_REAL_WORDS = 151643
CONFIG_KEYS = {
    "im_start_token_id": "<|im_start|>",
    "im_end_token_id": "<|im_end|>",
    "tts_pad_token_id": "<tts_pad>",
    "tts_bos_token_id": "<tts_text_bos>",
    "tts_eos_token_id": "<tts_text_eod>",
    "assistant_token_id": "assistant",
}
# "assistant" must be one token, because upstream slices the chat template by position. Two newlines are one token in
# the real vocabulary too, so a text that begins with one shifts the slices in the same way.
WORDS = ("assistant", "\u010a\u010a")
TEMPLATE = ("<|im_start|>assistant\n", "<|im_end|>\n<|im_start|>assistant\n", "<|im_end|>\n")
TEMPLATE_TOKENS = (3, 5, 2)


def write_tokenizer(folder: Path, text_vocab_size: int) -> dict[str, int]:
    """Write the tokenizer's files; returns the `*_token_id`s for config.json.

    Raises AssertionError where the chat template is not cut into the tokens upstream counts on.
    """
    from transformers import Qwen2TokenizerFast

    vocabulary, merges = _vocabulary()
    if text_vocab_size > N_REAL_WORDS:
        # Entries that no merge makes, so that the special tokens get the real model's numbers.
        vocabulary |= {f"<filler_{i}>": i for i in range(len(vocabulary), N_REAL_WORDS)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{merge}\n" for merge in merges), encoding="utf-8")
    special = {token: len(vocabulary) + i for i, token in enumerate(SPECIAL)}
    settings = {
        "tokenizer_class": "Qwen2Tokenizer",
        "add_prefix_space": False,
        "errors": "replace",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "unk_token": None,
        "bos_token": None,
        "model_max_length": 131072,
        "split_special_tokens": False,
        "additional_special_tokens": [token for token in special if token != "<|endoftext|>"],  # noqa: S105
        "added_tokens_decoder": {str(id_): _added(token) for token, id_ in special.items()},
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    tokenizer = Qwen2TokenizerFast.from_pretrained(folder)
    for part, n_tokens in zip(TEMPLATE, TEMPLATE_TOKENS, strict=True):
        ids = tokenizer(part)["input_ids"]
        assert len(ids) == n_tokens, f"{part!r} became {len(ids)} tokens, upstream cuts {n_tokens}"
    assert len(tokenizer) <= text_vocab_size, f"{len(tokenizer)} tokens do not fit {text_vocab_size} embeddings"
    return {key: int(tokenizer.convert_tokens_to_ids(token)) for key, token in CONFIG_KEYS.items()}


def _vocabulary() -> tuple[dict[str, int], list[str]]:
    """Every byte's letter, then for each word its prefixes, from which it is merged."""
    from transformers.models.gpt2.tokenization_gpt2 import bytes_to_unicode

    pieces = list(bytes_to_unicode().values())
    merges: list[str] = []
    for word in WORDS:
        starts = [word[:n] for n in range(1, len(word) + 1)]
        merges += [f"{start} {longer[-1]}" for start, longer in pairwise(starts)]
        pieces += starts[1:]
    return {piece: i for i, piece in enumerate(pieces)}, merges


def _added(token: str) -> dict[str, object]:
    return {
        "content": token,
        "lstrip": False,
        "normalized": False,
        "rstrip": False,
        "single_word": False,
        "special": True,
    }
