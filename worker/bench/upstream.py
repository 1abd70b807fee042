"""Upstream's speech and decoding, the baseline of `bench engine`.

The worker does not import this. A QwenEngine takes the weights out of the modules it is made of, so the baseline needs
its own load of the model.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.engine.base import FRAME_SAMPLES
from worker.engine.qwen.codec.decoder import Codec
from worker.engine.qwen.loader import Model
from worker.voices.card import VoiceSampling

Codes = NDArray[np.uint16]
Pcm = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class UpstreamClip:
    """The reference of a cloned voice. audio: float32 [samples]. transcript: None clones from the embedding alone."""

    audio: Pcm
    sample_rate_hz: int
    transcript: str | None


class Upstream:
    """Upstream's generate_voice_clone with one voice and the whole text in the prompt."""

    def __init__(self, model: Model, recording: UpstreamClip) -> None:
        self._upstream = model.upstream
        self._prompt = self._upstream.create_voice_clone_prompt(
            (recording.audio, recording.sample_rate_hz),
            ref_text=recording.transcript,
            x_vector_only_mode=recording.transcript is None,
        )

    def speak(
        self, text: str, language: str, max_frames: int, drawn: tuple[VoiceSampling, int] | None = None
    ) -> tuple[Codes, Pcm]:
        """Codes uint16 [n, 16] and samples float32 [about n * 1920]; nothing is returned before the end.

        drawn: the sampling and its seed; None is greedy.
        """
        with _codes_of(self._upstream.model) as generated, _without_notices():
            wavs, _ = self._upstream.generate_voice_clone(
                text=text,
                language=language,
                voice_clone_prompt=self._prompt,
                non_streaming_mode=True,
                max_new_tokens=max_frames + 1,
                **_sampling_options(drawn),
            )
        return generated[0].cpu().numpy().astype(np.uint16), wavs[0]


def _sampling_options(drawn: tuple[VoiceSampling, int] | None) -> dict[str, Any]:
    """The arguments of generate_voice_clone. Sets torch's seed where codes are drawn."""
    if drawn is None or drawn[0].temperature == 0:
        return {"do_sample": False, "subtalker_dosample": False}
    torch.manual_seed(drawn[1])
    names = ("temperature", "top_k", "top_p", "repetition_penalty")
    return {"do_sample": True} | {name: getattr(drawn[0], name) for name in names}


class CodecWays:
    """The same weights, three ways from codes uint16 [B, n, 16] to samples float32 [B, n * 1920]."""

    def __init__(self, model: Model, n_rows: int) -> None:
        codec: Any = model.codec
        self._decoder = codec.decoder
        self._device = model.device
        with torch.inference_mode():
            self._stateful = Codec(self._decoder, n_rows, kernels=model.kernels)

    @torch.inference_mode()
    def whole(self, codes: Codes) -> Pcm:
        """Upstream's decoder, once over all codes, without streaming."""
        return self._decoded(self._on_device(codes))

    @torch.inference_mode()
    def windowed(self, codes: Codes, n_chunk: int, n_context: int) -> Pcm:
        """Upstream's decoder for every chunk with n_context frames before it: an approximation."""
        parts, every = [], self._on_device(codes)
        for start in range(0, codes.shape[1], n_chunk):
            window = every[:, max(0, start - n_context) : start + n_chunk]
            n_again = min(start, n_context) * FRAME_SAMPLES
            parts.append(self._decoded(window)[:, n_again:])
        return np.concatenate(parts, 1)

    @torch.inference_mode()
    def stateful(self, codes: Codes, n_chunk: int) -> Pcm:
        """Our decoder, every frame once."""
        rows = torch.arange(len(codes), device=self._device)
        for row in range(len(codes)):
            self._stateful.reset(row, None)
        chunks = self._on_device(codes).split(n_chunk, 1)
        return np.concatenate([self._stateful.decode(chunk, rows).cpu().numpy() for chunk in chunks], 1)

    def _decoded(self, codes: Tensor) -> Pcm:
        pcm: Pcm = self._decoder(codes.transpose(1, 2)).squeeze(1).float().cpu().numpy()
        return pcm

    def _on_device(self, codes: Codes) -> Tensor:
        return torch.from_numpy(codes.astype(np.int64)).to(self._device)


@contextmanager
def _codes_of(model: Any) -> Iterator[list[Tensor]]:
    """Collects the codes that `generate` returns to generate_voice_clone, which returns samples only."""
    generated: list[Tensor] = []

    def generate(**options: Any) -> Any:
        result = type(model).generate(model, **options)
        generated.extend(result[0])
        return result

    model.generate = generate
    try:
        yield generated
    finally:
        del model.generate


@contextmanager
def _without_notices() -> Iterator[None]:
    """Silences transformers' warning at every call that it pads with the end token."""
    usual = logging.root.manager.disable
    logging.disable(max(usual, logging.WARNING))
    try:
        yield
    finally:
        logging.disable(usual)
