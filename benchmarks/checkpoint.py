"""Write a random-weight Qwen3-TTS checkpoint that upstream's own `Qwen3TTSModel.from_pretrained` loads.

    python -m benchmarks.checkpoint tiny|mid|full DIR [--seed N] [--eos-boost X]

tiny (24 MB) is for tests, mid (110 MB) for benchmarks on a CPU, full (2.3 GB, bfloat16) has the real shapes: speed
does not depend on what the weights say. The speech is noise, but lively noise: greedy decoding does not fall into
a loop, and audio is audible without clipping.

Every tensor is drawn from a generator of its own, seeded with the checkpoint's seed and the tensor's name, so the
same seed gives the same bytes. Needs the `qwen` extra.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.checkpoint_shapes import GENERATION, PREPROCESSOR, SIZES, Size, codec_config, model_config
from benchmarks.checkpoint_tokenizer import write_tokenizer

if TYPE_CHECKING:
    from torch import Tensor, nn

CODEC_EOS = 2150
Draw = Callable[[str, "Tensor"], "Tensor"]


def write(size: str, folder: Path, seed: int = 0, eos_boost: float = 0.0) -> None:
    """Write the checkpoint of one size: "tiny", "mid" or "full".

    eos_boost: how many times the end token's row of `codec_head` is lengthened beyond its first length; 0 leaves it.
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

    def end_row_raised(name: str, tensor: Tensor) -> Tensor:
        if name == "talker.codec_head.weight":
            tensor[CODEC_EOS] *= 1 + eos_boost
        return tensor

    def as_drawn(_name: str, tensor: Tensor) -> Tensor:
        return tensor

    model_shapes = _on_meta(Qwen3TTSForConditionalGeneration, Qwen3TTSConfig(**model))
    codec_shapes = _on_meta(Qwen3TTSTokenizerV2Model, Qwen3TTSTokenizerV2Config(**codec))
    _write_weights(folder / "model.safetensors", model_shapes, _weights(chosen, seed, "model", end_row_raised))
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
    """Standard normal numbers brought to what suits the weight of this name, of the same shape."""
    field = name.rsplit(".", 1)[-1]
    if field == "initialized":
        return normal.fill_(1)
    if field == "cluster_usage":
        # The encoder prefers the shortest of its vectors, so unequal ones would leave it few codes to choose.
        return normal.fill_(1) if name.startswith("encoder.") else normal.mul_(0.3).exp_()
    if field in ("embed_sum", "embedding_sum"):
        return normal
    if field in ("gamma", "scale"):
        return normal.mul_(0.05).add_(0.3)
    if field in ("alpha", "beta"):
        return normal.mul_(0.2)
    if field == "bias":
        return normal.mul_(0.02)
    if normal.dim() == 1:
        return normal.mul_(0.1).add_(1.6 if name.endswith(("q_norm.weight", "k_norm.weight")) else 1.0)
    if "embedding" in name:
        return normal if "text_embedding" in name else normal.mul_(0.25)
    return normal.mul_(_gain(name) / math.sqrt(_fan_in(name, normal)))


def _gain(name: str) -> float:
    if name == "speaker_encoder.fc.weight":
        return 0.14
    if name == "decoder.decoder.6.conv.weight":
        return 0.35
    if name.startswith("decoder."):
        return 0.75
    if name.startswith(("encoder.", "speaker_encoder.")):
        return 1.4
    return 1.0


def _fan_in(name: str, weight: Tensor) -> int:
    """How many numbers of the input one number of the output is made of."""
    n_out, n_in, *kernel = weight.shape
    if ".conv.weight" in name and name.startswith("decoder.") and _is_transposed(name):
        return n_out * max(1, kernel[0] // 2)
    return n_in * math.prod(kernel)


def _is_transposed(name: str) -> bool:
    return ".upsample." in name or name.endswith("block.1.conv.weight")


def _write_weights(path: Path, shapes: Mapping[str, Tensor], draw: Draw) -> None:
    from safetensors.torch import save_file

    save_file({name: draw(name, shapes[name]) for name in sorted(shapes)}, path, metadata={"format": "pt"})


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.checkpoint", description=__doc__)
    parser.add_argument("size", choices=sorted(SIZES))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--eos-boost", type=float, default=0.0, help="TODO")
    options = parser.parse_args()
    write(options.size, options.folder, options.seed, options.eos_boost)


if __name__ == "__main__":
    main()
