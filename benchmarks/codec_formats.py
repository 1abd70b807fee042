"""How much noise the codec's decoder adds in a half: random weights in the real shapes, against float32, on a CPU.

    python -m benchmarks.codec_formats [--frames 24]

Prints a JSON object: the signal-to-noise ratio of each format in dB, over all samples of the same random codes.
"""

from __future__ import annotations

import argparse
import copy
import json
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from benchmarks.checkpoint import _weights
from benchmarks.checkpoint_shapes import SIZES, codec_config
from worker.engine.qwen.codec.precision import to_float16


def decoder_of(seed: int = 0) -> Any:
    """Upstream's decoder in the real shapes, float32, with the weights of the full checkpoint before it is rounded."""
    from qwen_tts.core.tokenizer_12hz.configuration_qwen3_tts_tokenizer_v2 import Qwen3TTSTokenizerV2Config
    from qwen_tts.core.tokenizer_12hz.modeling_qwen3_tts_tokenizer_v2 import Qwen3TTSTokenizerV2Decoder

    size = replace(SIZES["full"], is_bfloat16=False)
    draw = _weights(size, seed, "codec", lambda _name, tensor: tensor)
    decoder = Qwen3TTSTokenizerV2Decoder(Qwen3TTSTokenizerV2Config(**codec_config(size)).decoder_config)
    for name, parameter in decoder.named_parameters():
        parameter.data = draw(f"decoder.{name}", parameter)
    return decoder.eval().requires_grad_(False)


@torch.inference_mode()
def samples(decoder: Any, codes: Tensor) -> Tensor:
    pcm: Tensor = decoder(codes)
    return pcm.double()


def snr_db(pcm: Tensor, wanted: Tensor) -> float:
    return float(10 * (wanted.square().mean() / (pcm - wanted).square().mean()).log10())


def in_bfloat16(decoder: Any) -> None:
    for parameter in decoder.parameters():
        parameter.data = parameter.data.to(torch.bfloat16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=24)
    n_frames = parser.parse_args().frames
    codes = torch.randint(0, 2048, (1, 16, n_frames), generator=torch.Generator().manual_seed(1))
    exact = decoder_of()
    wanted = samples(exact, codes)
    figures: dict[str, Any] = {"frames": n_frames, "rms": float(wanted.square().mean().sqrt())}
    for name, convert in (("float16", to_float16), ("bfloat16", in_bfloat16)):
        half = copy.deepcopy(exact)
        convert(half)
        figures[f"{name}_snr_db"] = round(snr_db(samples(half, codes), wanted), 1)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
