"""The streaming codec decoder: codes in, samples out, a few frames at a time and many slots at once.

Upstream decodes a whole utterance at once. Everything in its decoder is causal, so a decoder that keeps each layer's
past gives the same samples in pieces: keys and values of the attention window, the ends of the convolutions' inputs,
and the overlaps of the transposed convolutions. A slot's state is one row of three tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from worker.engine.qwen.codec.eager import EagerDecoder

if TYPE_CHECKING:
    from worker.engine.qwen.codec.fused import FusedDecoder

REFERENCE_CHUNK_FRAMES = 25


class Codec:
    """A stateful decoder of many slots, on the weights of upstream's Qwen3TTSTokenizerV2Decoder.

    n_slots: rows of state, 0 to n_slots - 1; one more, `scratch`, serves the padding rows of a batch. Any number of a
    batch's rows may use the scratch slot; another slot may appear once in a call.
    consume: free upstream's copy of every weight that is kept in another form; its decoder cannot run afterwards.
    kernels: "triton" on a GPU or in Triton's interpreter; others are eager torch. A state fits what it was made with.
    """

    def __init__(self, decoder: nn.Module, n_slots: int, *, consume: bool = False, kernels: str = "torch") -> None:
        self._layers: EagerDecoder | FusedDecoder
        with torch.no_grad():
            if kernels == "triton":
                from worker.engine.qwen.codec.fused import FusedDecoder

                self._layers = FusedDecoder(decoder, REFERENCE_CHUNK_FRAMES, consume)
            else:
                self._layers = EagerDecoder(decoder, consume)
        self.scratch = n_slots
        self._state = self._layers.state(n_slots + 1)

    @torch.inference_mode()
    def decode(self, codes: Tensor, slots: Tensor, state: Mapping[str, Tensor] | None = None) -> Tensor:
        """Decode n more frames of every named slot.

        codes: int64 [B, n, 16]; values beyond the codebooks are clamped. slots: int64 [B] on the same device. state:
        rows to use instead of the slots' own. Returns float32 [B, n * 1920] in -1..1. Never waits for the device, so it
        can be captured in a CUDA graph. Calls on other slots may run at the same time on other streams.
        """
        return self._layers(codes, slots, state or self._state)

    @property
    def layout(self) -> str:
        """Names, formats and shapes of the tensors of `state_of`."""
        return " ".join(f"{name} {rows.dtype} {list(rows.shape[1:])}" for name, rows in self._state.items())

    @torch.inference_mode()
    def reset(self, slot: int, state: Mapping[str, Tensor] | None) -> None:
        """Set a slot to a state from `state_of`, on any device, or with None to the start of a stream."""
        for name, rows in self._state.items():
            row = rows[slot]
            if state is None:
                row.zero_()
            elif state[name].shape != row.shape:
                raise ValueError(f"the codec state's {name!r} is {tuple(state[name].shape)}, not {tuple(row.shape)}: "
                                 "it was made with another codec; make it again from the reference codes")  # fmt: skip
            else:
                row.copy_(state[name], non_blocking=True)

    def state_of(self, codes: Tensor) -> dict[str, Tensor]:
        """The state after these codes, int64 [n, 16], from the start of a stream.

        Touches no slot, so another thread, on another CUDA stream, may call it beside `decode`.
        """
        codes = codes.to(self._state["frames"].device)
        state, row = self._layers.state(1), torch.zeros(1, dtype=torch.int64, device=codes.device)
        for chunk in codes.split(REFERENCE_CHUNK_FRAMES):
            if len(chunk):
                self.decode(chunk[None], row, state)
        return {name: rows[0] for name, rows in state.items()}
