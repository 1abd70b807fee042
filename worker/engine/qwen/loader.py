"""Loading Qwen3-TTS through qwen-tts. No other module of the worker imports qwen-tts or transformers.

`load` imports qwen-tts, which takes seconds and prints while it starts; its output is logged. The engine uses
upstream's weights, tokenizer and encoders, and never its `generate`.
"""

from __future__ import annotations

import io
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from worker.engine import exactness
from worker.engine.caches import provide_caches
from worker.engine.checkpoint import memory as footprint
from worker.engine.checkpoint import packages
from worker.engine.checkpoint.devices import device_problem
from worker.engine.checkpoint.files import CODEC_FOLDER, ModelError, Weights, first_line, read
from worker.engine.checkpoint.kernels import triton_problem
from worker.engine.checkpoint.room import Need, SlotCount, choose_slots
from worker.engine.health import is_lack_of_memory
from worker.engine.qwen.codec.precision import HALVES, refine

log = logging.getLogger(__name__)

DTYPES = {name: getattr(torch, name) for name in footprint.ELEMENT_BYTES}

Attention = Literal["flash", "sdpa"]
Kernels = Literal["triton", "loops", "torch"]


@dataclass(frozen=True, slots=True)
class Model:
    """Upstream's modules in eval mode without gradients, on `device` in `dtype`.

    config: Qwen3TTSConfig. generation: generation_config.json. talker: Qwen3TTSTalkerForConditionalGeneration.
    codec: Qwen3TTSTokenizerV2Model with .encoder and .decoder, in formats of their own. upstream: the Qwen3TTSModel
    around them. attention: the kernel for our own engine; upstream's modules run on SDPA.
    fingerprint: SHA-256 of all weights. kernels: what the engine computes by; torch is eager.
    n_slots: as many as were wanted, or as memory allows. free_bytes: what a GPU had free before it got the weights.
    """

    name: str
    config: Any
    generation: Mapping[str, Any]
    tokenizer: Any
    device: torch.device
    dtype: torch.dtype
    attention: Attention
    talker: nn.Module
    codec: nn.Module
    upstream: Any
    fingerprint: str
    n_slots: int = 1
    free_bytes: int | None = None
    kernels: Kernels = "torch"

    @property
    def codec_dtype(self) -> torch.dtype:
        """Of the codec's decoder: float16 on a GPU and float32 on a CPU where the talker computes in a half."""
        decoder: Any = self.codec.decoder
        dtype: torch.dtype = next(decoder.parameters()).dtype
        return dtype

    def encode_reference(
        self, audio: NDArray[np.float32], sample_rate_hz: int, transcript: str | None, mode: str
    ) -> tuple[Tensor | None, Tensor]:
        """Codes int64 [n, 16] (None for x_vector) and speaker embedding [D] of a recording [samples].

        Calls upstream's create_voice_clone_prompt. Raises ValueError for icl without a transcript.
        """
        prompts = self.upstream.create_voice_clone_prompt(
            (audio, sample_rate_hz), ref_text=transcript, x_vector_only_mode=mode == "x_vector"
        )
        codes, embedding = prompts[0].ref_code, prompts[0].ref_spk_embedding
        # Copies: upstream returns inference tensors, which may not be written.
        return None if codes is None else codes.to(torch.int64).clone(), embedding.clone()


def load(
    name: str,
    *,
    device: str = "auto",
    dtype: str = "auto",
    attention: str = "auto",
    slots: SlotCount = 1,
    n_positions: int = footprint.N_POSITIONS,
    kernels: str = "auto",
) -> Model:
    """Load a model from a directory or the local hub cache, if it and its slots fit the device's memory.

    device: auto, cpu, cuda, cuda:N. dtype: auto (bfloat16 on CUDA and where a CPU multiplies it, else float32),
    bfloat16, float16, float32, float64. attention: auto, flash, sdpa. slots: auto (64 on a GPU, 8 on a CPU, or the most
    that fit) or a number. n_positions: of a slot's KV cache. kernels: auto (triton on CUDA, loops in float32 on a CPU),
    triton, loops, torch. Raises ModelError.
    """
    if (problem := packages.package_problem()) is not None:
        raise problem
    weights = read(name)
    place = _device(device)
    element = _dtype(dtype, place)
    kernel = _attention(attention, place, element)
    chosen_kernels = _kernels(kernels, place, element)
    free_bytes = torch.cuda.mem_get_info(place)[0] if place.type == "cuda" else footprint.free_host_bytes()
    need = Need.of(weights, str(element).removeprefix("torch."), place.type, n_positions)
    n_slots = choose_slots(slots, need, free_bytes, str(place))
    with ThreadPoolExecutor(1, "fingerprint") as pool:
        fingerprint = pool.submit(weights.fingerprint)
        upstream = _upstream(weights, place, element)
        whole, codec = upstream.model, upstream.model.speech_tokenizer.model
        for module in (whole, codec):
            module.eval().requires_grad_(False)
        with lack_of_memory(f"the speech tokenizer of {weights.name}"):
            refine(codec, weights, element)
        _warn_of_inexact_products(place, element)
        return Model(
            name=weights.name,
            config=whole.config,
            generation=whole.generate_config,
            tokenizer=upstream.processor.tokenizer,
            device=place,
            dtype=element,
            attention=kernel,
            talker=whole.talker,
            codec=codec,
            upstream=upstream,
            fingerprint=fingerprint.result(),
            n_slots=n_slots,
            free_bytes=free_bytes if place.type == "cuda" else None,
            kernels=chosen_kernels,
        )


def _warn_of_inexact_products(device: torch.device, dtype: torch.dtype) -> None:
    if device.type == "cpu" and dtype != torch.float64 and (problem := exactness.check()) is not None:
        log.warning("samples may differ by one 16-bit step between attempts at one job: %s", problem)


def _device(device: str) -> torch.device:
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if (problem := device_problem(device)) is not None:
        raise problem
    return torch.device("cuda", 0) if device == "cuda" else torch.device(device)


def _dtype(dtype: str, device: torch.device) -> torch.dtype:
    found: torch.dtype | None = DTYPES.get(footprint.dtype_for(dtype, device.type))
    if found is None:
        raise ModelError(f"the number format {dtype!r} is unknown", f"use auto, {', '.join(DTYPES)}")
    return found


def _attention(attention: str, device: torch.device, dtype: torch.dtype) -> Attention:
    if attention not in ("auto", "flash", "sdpa"):
        raise ModelError(f"the attention {attention!r} is unknown", "use auto, flash or sdpa")
    problem = ""
    if device.type != "cuda":
        problem = "it runs on CUDA only"
    elif dtype not in HALVES:
        problem = "it computes in bfloat16 and float16 only"
    elif find_spec("flash_attn") is None:
        problem = "flash-attn is not installed (pip install 'makima-tts[flash]')"
    if attention == "flash" and problem:
        raise ModelError(f"flash attention cannot be used: {problem}", "use sdpa")
    return "sdpa" if attention == "sdpa" or problem else "flash"


def _kernels(kernels: str, device: torch.device, dtype: torch.dtype) -> Kernels:
    if kernels not in ("auto", "triton", "loops", "torch"):
        raise ModelError(f"the kernels {kernels!r} are unknown", "use auto, triton, loops or torch")
    if kernels in ("auto", "loops") and device.type == "cpu" and dtype == torch.float32:
        return "loops"
    if kernels == "loops":
        raise ModelError("compiled loops are for float32 on a CPU only", "use kernels=auto")
    if kernels == "torch" or (kernels == "auto" and device.type != "cuda"):
        return "torch"
    if device.type == "cuda":
        problem = triton_problem()
    else:  # Triton's interpreter is for tests: it takes seconds for a frame
        problem = None if os.environ.get("TRITON_INTERPRET") == "1" else "they run on CUDA only"
    if problem is None:
        return "triton"
    if kernels == "triton":
        raise ModelError(f"Triton's kernels cannot be used: {problem}", "or use kernels=torch, which is slower")
    log.warning("the engine runs without Triton's kernels, which make it several times faster: %s", problem)
    return "torch"


@contextmanager
def lack_of_memory(of_what: str) -> Iterator[None]:
    """Turns a lack of memory inside into a ModelError."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError
        if not is_lack_of_memory(error):
            raise
        raise ModelError(
            f"too little memory for {of_what}: {first_line(error)}",
            "take fewer --slots, end other processes that use it, choose another device, or a smaller --dtype",
        ) from None  # a failed capture is a CUDA error too, and this is no broken GPU


def _upstream(weights: Weights, device: torch.device, dtype: torch.dtype) -> Any:
    """Upstream's Qwen3TTSModel. Raises ModelError, also for a missing tensor, which upstream would fill with noise."""
    options: dict[str, Any] = {"dtype": dtype, "attn_implementation": "sdpa"}
    if device.type == "cuda":
        options["device_map"] = str(device)  # without a copy in the host's memory
    upstream_class = _import_upstream()
    try:
        with lack_of_memory(f"the {weights.n_numbers / 1e6:.0f} million parameters of {weights.name}"):
            upstream = upstream_class.from_pretrained(str(weights.folder), **options)
    except ModelError:
        raise
    except (OSError, RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise ModelError(
            f"{weights.folder} cannot be loaded ({first_line(error)})",
            "its files do not fit each other, fetch the model again: makima-tts model fetch NAME",
        ) from error
    _refuse_missing(weights, upstream.model, of_the_codec=False)
    _refuse_missing(weights, upstream.model.speech_tokenizer.model, of_the_codec=True)
    return upstream


def _refuse_missing(weights: Weights, module: nn.Module, of_the_codec: bool) -> None:
    missing = sorted(module.state_dict().keys() - weights.tensors(of_the_codec))
    if missing:
        where = weights.folder / CODEC_FOLDER if of_the_codec else weights.folder
        raise ModelError(
            f"the weights in {where} lack {len(missing)} tensors, {missing[0]} the first",
            "fetch the model again: makima-tts model fetch NAME",
        )


def _import_upstream() -> Any:
    printed = io.StringIO()
    provide_caches()
    try:
        with redirect_stdout(printed), _without_sox_check():
            from qwen_tts import Qwen3TTSModel
    except (ImportError, OSError, RuntimeError) as error:
        raise ModelError(f"qwen-tts cannot be imported ({first_line(error)})", packages.INSTALL) from error
    for line in filter(str.strip, printed.getvalue().splitlines()):
        log.debug("qwen-tts: %s", line)
    return Qwen3TTSModel


@contextmanager
def _without_sox_check() -> Iterator[None]:
    """pysox runs `sox` in a shell when it is imported and warns if it is missing. The worker does not need it."""
    if shutil.which("sox") is not None:
        yield
        return
    logger, popen = logging.getLogger("sox"), os.popen
    logger.addFilter(_is_no_sox_notice)
    os.popen = lambda *_: io.StringIO()  # type: ignore[assignment]
    try:
        yield
    finally:
        os.popen = popen
        logger.removeFilter(_is_no_sox_notice)


def _is_no_sox_notice(record: logging.LogRecord) -> bool:
    return "SoX could not be found" not in record.getMessage()
