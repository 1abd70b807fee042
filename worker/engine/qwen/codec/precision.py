"""The number formats of the codec beside a talker that computes in a half (bfloat16 or float16).

The encoder is float32: it runs once a voice, and its codes decide the whole voice. The decoder is float32 on a CPU, and
float16 on a GPU: three bits more than bfloat16, at the same speed. Numbers that float16 cannot hold are looked for when
the model is loaded; the decoder's kernels limit what overflows all the same.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from worker.engine.checkpoint.files import CODEC_FOLDER, Weights
from worker.engine.qwen.codec.tables import code_vectors, codebooks

log = logging.getLogger(__name__)

HALVES = (torch.bfloat16, torch.float16)
MOST = torch.finfo(torch.float16).max
HEADROOM = 4.0  # of float16's range over what random codes need
N_FRAMES = 24


def refine(codec: Any, weights: Weights, dtype: torch.dtype) -> None:
    """Give the codec's weights their formats. codec: Qwen3TTSTokenizerV2Model. dtype: the talker's.

    A half has lost bits of the weights, so they are read again from their files.
    """
    if next(codec.parameters()).is_cuda:
        torch.backends.cudnn.allow_tf32 = False  # torch's default rounds the inputs of float32 convolutions to 10 bits
    if dtype not in HALVES:
        return
    codec.float()
    own = codec.state_dict()
    for file in weights.files:
        if file.name.startswith(f"{CODEC_FOLDER}/"):
            with safe_open(file.path, "pt") as tensors:
                for name in own.keys() & file.shapes.keys():
                    own[name].copy_(tensors.get_tensor(name))
    if next(codec.decoder.parameters()).is_cuda:
        # Sums of float16 products, when split, are else rounded to float16 before they are added.
        torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
        to_float16(codec.decoder)


def to_float16(decoder: Any) -> None:
    """Round a float32 decoder to float16, unless its numbers would not fit."""
    most = peak(decoder)
    if not most * HEADROOM <= MOST:
        log.warning(
            "the codec's decoder makes numbers of %.3g, too near float16's limit of %.0f: it computes in float32, "
            "which takes longer and twice the memory",
            most, MOST,
        )  # fmt: skip
        return
    for book in codebooks(decoder.quantizer):
        # The sum and the count of a codebook's vectors may be beyond float16, their quotient is not.
        book.embedding_sum.data = code_vectors(book)
        book.cluster_usage.data = torch.ones_like(book.cluster_usage)
    for parameter in decoder.parameters():
        parameter.data = parameter.data.to(torch.float16)


def peak(decoder: Any) -> float:
    """The greatest magnitude among the weights that are used and what every layer makes of random codes."""
    books = codebooks(decoder.quantizer)
    tables = [code_vectors(book) for book in books]
    sums = {id(part) for book in books for part in (book.embedding_sum, book.cluster_usage)}
    found = [part.abs().max() for part in (*tables, *(p for p in decoder.parameters() if id(p) not in sums))]

    def look(_module: nn.Module, _given: object, made: object) -> None:
        if isinstance(made, Tensor):
            found.append(made.abs().max())

    hooks = [module.register_forward_hook(look) for module in decoder.modules()]
    random = torch.Generator().manual_seed(0)
    codes = torch.randint(0, len(tables[0]), (1, len(books), N_FRAMES), generator=random)
    try:
        with torch.inference_mode():
            decoder(codes.to(tables[0].device))
    finally:
        for hook in hooks:
            hook.remove()
    return float(torch.stack(found).max())
