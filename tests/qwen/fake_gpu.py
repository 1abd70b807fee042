"""A GPU where there is none: models whose tensors have shapes and a CUDA device but no numbers, and capture's rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.checkpoint_shapes import SIZES, codec_config, model_config
from worker.engine.qwen.loader import Model

DEVICE = torch.device("cuda", 0)
TOKEN_IDS = (
    "im_start_token_id", "im_end_token_id", "assistant_token_id",
    "tts_pad_token_id", "tts_bos_token_id", "tts_eos_token_id",
)  # fmt: skip
FROM_NUMBERS = ("aten::lift_fresh", "aten::fill_")  # a single number of the host's becomes a part of the kernel's call
NO_KERNEL = ("aten::empty", "aten::new_empty", "aten::detach", "aten::_unsafe_view", "aten::lift_fresh")


_MODE = FakeTensorMode(allow_non_fake_inputs=True)


class BreaksCapture(AssertionError):
    """What no CUDA graph may do."""


def fake_tensors() -> AbstractContextManager[object]:
    """Every tensor made in here has no numbers; asking for one raises."""
    return _MODE


def fake_model(size: str, dtype: torch.dtype = torch.bfloat16) -> Model:
    """A checkpoint's modules on a GPU that is not there. To be called, and used, among `fake_tensors`."""
    from qwen_tts.core.models import Qwen3TTSConfig, Qwen3TTSForConditionalGeneration

    ids = {name: n for n, name in enumerate(TOKEN_IDS)}
    config = Qwen3TTSConfig(**model_config(SIZES[size], ids))
    whole = _made(Qwen3TTSForConditionalGeneration, config, dtype)
    parts: Any = _Codec(fake_decoder(size, dtype))
    return Model(
        name=size, config=config, generation={}, tokenizer=None, device=DEVICE, dtype=dtype, attention="sdpa",
        talker=whole.talker, codec=parts, upstream=None, fingerprint="",
    )  # fmt: skip


def fake_decoder(size: str, dtype: torch.dtype) -> Any:
    """The codec's decoder alone, as `fake_model`."""
    from qwen_tts.core.tokenizer_12hz.configuration_qwen3_tts_tokenizer_v2 import Qwen3TTSTokenizerV2Config
    from qwen_tts.core.tokenizer_12hz.modeling_qwen3_tts_tokenizer_v2 import Qwen3TTSTokenizerV2Decoder

    config = Qwen3TTSTokenizerV2Config(**codec_config(SIZES[size]))
    return _made(Qwen3TTSTokenizerV2Decoder, config.decoder_config, dtype)


def _made(kind: Any, config: Any, dtype: torch.dtype) -> Any:
    usual = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with DEVICE:
            return kind(config).eval().requires_grad_(False)
    finally:
        torch.set_default_dtype(usual)


@dataclass(frozen=True)
class _Codec:
    decoder: Any


class CaptureRules(TorchDispatchMode):
    """Raises BreaksCapture for what a CUDA graph cannot hold, and counts the kernels it would hold.

    Operations that wait for a result, or whose result's shape depends on one, raise by themselves among fake tensors.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kernels: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name
        if func.namespace == "prim":  # asks for a device
            return func(*args, **kwargs)
        if name == "aten::scaled_dot_product_attention":
            check_attention(*args, **kwargs)
        elif is_composite(func):
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        self._check_devices(name, (args, kwargs))
        if not func.is_view and not name.startswith(NO_KERNEL):
            self.kernels[name.removeprefix("aten::")] += 1
        result = func(*args, **kwargs)
        if name not in FROM_NUMBERS and any(not leaf.is_cuda for leaf in _tensors(result)):
            raise BreaksCapture(f"{name} gives a tensor of the host's")
        return result

    def _check_devices(self, name: str, given: Any) -> None:
        tensors = _tensors(given)
        if name == "aten::lift_fresh" and tensors[0].is_cuda:
            raise BreaksCapture("a tensor is made of Python's numbers, which is a copy from the host")
        for tensor in tensors:
            if not tensor.is_cuda and not (name in FROM_NUMBERS and tensor.dim() == 0):
                raise BreaksCapture(f"{name} reads a tensor of the host's, {list(tensor.shape)}")


def is_composite(func: Any) -> bool:
    """Whether it is done by other operations, and is none by itself on a GPU."""
    if func.namespace == "prim" or not func._can_decompose():
        return False
    return not torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CUDA")


def _tensors(given: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(given) if isinstance(leaf, Tensor)]


def check_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, *_: Any, **options: Any
) -> None:
    """Raise BreaksCapture for what CUDA's fused kernels refuse; torch then computes it the slow way, without a word.

    torch 2.11, sdp_utils.cpp: the flash kernel takes no mask, the memory-efficient one no grouped queries. A mask's
    rows begin at multiples of 16 bytes, else it is copied.
    """
    if any(tensor.stride(-1) != 1 for tensor in (query, key, value)):
        raise BreaksCapture("attention over heads whose numbers do not lie side by side")
    if mask is None:
        return
    if options.get("enable_gqa") and query.shape[1] != key.shape[1]:
        raise BreaksCapture("grouped queries with a mask")
    if query.shape[1] != key.shape[1]:
        raise BreaksCapture("query and key heads differ in number")
    if mask.stride(-1) != 1 or any(s * mask.itemsize % 16 for s in mask.stride()[:-1]):
        raise BreaksCapture(f"a mask of strides {mask.stride()}")
