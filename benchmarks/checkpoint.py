"""Write a random-weight Qwen3-TTS checkpoint that upstream's own `Qwen3TTSModel.from_pretrained` loads.

    python -m benchmarks.checkpoint tiny|mid|full DIR [--seed N] [--eos-boost X]

tiny (24 MB) is for tests and mid (103 MB) for benchmarks on a CPU. full (2.2 GB, bfloat16) has the real shapes, for
timing: speed does not depend on the weights' values. The speech is noise, scaled so that greedy decoding does not fall
into a loop and the audio is audible without clipping.

Every tensor has its own generator, seeded with the checkpoint's seed and the tensor's name, so the same seed gives the
same bytes. Needs the `qwen` extra.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.checkpoint_shapes import GENERATION, PREPROCESSOR, SIZES, Size, codec_config, model_config
from benchmarks.checkpoint_tokenizer import write_tokenizer

if TYPE_CHECKING:
    from torch import Tensor, nn

CODEC_EOS = 2150
# Of weights that are not matrices. Biases, norms and usages differ from their initial values, so that a decoder that
# ignores one of them fails its tests.
STD_AND_MEAN = {
    "bias": (0.02, 0.0),
    "alpha": (0.2, 0.0),
    "beta": (0.2, 0.0),
    "gamma": (0.05, 0.3),
    "scale": (0.05, 0.3),
    "embed_sum": (1.0, 0.0),
    "embedding_sum": (1.0, 0.0),
    "cluster_usage": (0.1, 1.0),
    "initialized": (0.0, 1.0),
}
SHARP = 1.6  # of q_norm and k_norm: attention that selects positions, so that a wrong cache changes the codes
CODE_EMBEDDING = 0.25  # sixteen of them are summed
# The first match counts. A matrix's standard deviation is its gain over the root of its fan-in. Below these gains the
# codec is silent; above them it clips, and rounding errors grow from layer to layer.
GAINS = (
    (re.compile(r"^speaker_encoder\.fc\."), 0.14),
    (re.compile(r"^(speaker_)?encoder\."), 1.4),
    (re.compile(r"^decoder\.decoder\.6\."), 0.9),
    (re.compile(r"^decoder\.decoder\.\d\.block\.1\."), 0.4),
    (re.compile(r"^decoder\."), 0.75),
)
# Transposed convolutions: weights are [in, out, kernel]; kernel / stride taps reach each sample of the output.
TRANSPOSED = ((re.compile(r"^decoder\.upsample\.\d\.0\."), 1), (re.compile(r"\.block\.1\."), 2))
EOS_HELP = """how long the end token's row of codec_head is beside the other rows (default 0: no utterance ends by
itself). The row is a random direction, so whether a frame ends the utterance depends on its hidden state. Of tiny,
at 1.5 greedy utterances of a sentence end after 5 to 60 frames and a third of the sampled ones before 60; at 2.5
sampled ones end after 4 to 60; of mid, at 2.5 greedy ones end after 2 to 40 and half of the sampled ones before"""
Draw = Callable[[str, "Tensor"], "Tensor"]


def write(size: str, folder: Path, seed: int = 0, eos_boost: float = 0.0) -> None:
    """Write the checkpoint of one size: "tiny", "mid" or "full".

    eos_boost: the length of the end token's row of `codec_head` beside the other rows; 0, and no utterance ends.
    """
    from qwen_tts.core.models import Qwen3TTSConfig, Qwen3TTSForConditionalGeneration
    from qwen_tts.core.tokenizer_12hz.configuration_qwen3_tts_tokenizer_v2 import Qwen3TTSTokenizerV2Config
    from qwen_tts.core.tokenizer_12hz.modeling_qwen3_tts_tokenizer_v2 import Qwen3TTSTokenizerV2Model

    chosen = SIZES[size]
    codec_folder = folder / "speech_tokenizer"
    codec_folder.mkdir(parents=True, exist_ok=True)
    model = model_config(chosen, write_tokenizer(folder, chosen.text_vocab_size))
    codec = codec_config(chosen)
    _write_json(folder / "config.json", model)
    _write_json(folder / "generation_config.json", GENERATION)
    _write_json(codec_folder / "config.json", codec)
    _write_json(codec_folder / "preprocessor_config.json", PREPROCESSOR)

    def end_row_stretched(name: str, tensor: Tensor) -> Tensor:
        if name == "talker.codec_head.weight":
            tensor[CODEC_EOS] *= eos_boost
        return tensor

    def as_drawn(_name: str, tensor: Tensor) -> Tensor:
        return tensor

    model_shapes = _on_meta(Qwen3TTSForConditionalGeneration, Qwen3TTSConfig(**model))
    codec_shapes = _on_meta(Qwen3TTSTokenizerV2Model, Qwen3TTSTokenizerV2Config(**codec))
    _write_weights(folder / "model.safetensors", model_shapes, _weights(chosen, seed, "model", end_row_stretched))
    _write_weights(codec_folder / "model.safetensors", codec_shapes, _weights(chosen, seed, "codec", as_drawn))


def _on_meta(make: Callable[[Any], nn.Module], config: Any) -> Mapping[str, Tensor]:
    """The names and shapes of a module's weights, without the memory or the time to fill them."""
    import torch

    with torch.device("meta"):
        return make(config).state_dict()


def _weights(size: Size, seed: int, part: str, finish: Draw) -> Draw:
    import torch

    dtype = torch.bfloat16 if size.is_bfloat16 else torch.float32

    def draw(name: str, like: Tensor) -> Tensor:
        digest = hashlib.sha256(f"{seed} {part} {name}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
        normal = torch.randn(like.shape, generator=generator)
        return finish(name, _scaled(name, normal)).to(dtype)

    return draw


def _scaled(name: str, normal: Tensor) -> Tensor:
    """Standard normal numbers scaled for the weight of this name, in the same shape."""
    std, mean = _std_and_mean(name, normal)
    return normal.mul_(std).add_(mean)


def _std_and_mean(name: str, weight: Tensor) -> tuple[float, float]:
    field = name.rsplit(".", 1)[-1]
    if field in STD_AND_MEAN:
        return STD_AND_MEAN[field]
    if weight.dim() == 1:
        return 0.1, SHARP if name.endswith(("q_norm.weight", "k_norm.weight")) else 1.0
    if "embedding" in name:
        return (1.0 if "text_embedding" in name else CODE_EMBEDDING), 0.0
    gain = next((gain for pattern, gain in GAINS if pattern.search(name)), 1.0)
    return gain / math.sqrt(_fan_in(name, weight)), 0.0


def _fan_in(name: str, weight: Tensor) -> int:
    """The fan-in: how many inputs make one output."""
    n_out, n_in, *kernel = weight.shape
    for pattern, n_taps in TRANSPOSED:
        if pattern.search(name):
            return n_out * n_taps
    return n_in * math.prod(kernel)


def _write_weights(path: Path, shapes: Mapping[str, Tensor], draw: Draw) -> None:
    from safetensors.torch import save_file

    save_file({name: draw(name, shapes[name]) for name in sorted(shapes)}, path, metadata={"format": "pt"})
    path.chmod(0o644)  # safetensors writes 0600, and in an image the worker runs as another user


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.checkpoint", description=__doc__)
    parser.add_argument("size", choices=sorted(SIZES))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--eos-boost", type=float, default=0.0, help=EOS_HELP)
    options = parser.parse_args()
    write(options.size, options.folder, options.seed, options.eos_boost)


if __name__ == "__main__":
    main()
