"""The model runner: prefill, one frame of the batch, and the codec, each in few shapes.

Shapes are rounded up to buckets. Every new shape costs a CUDA graph on a GPU, and memory that is never freed on a CPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from worker.engine.base import CHUNK_RAMP, N_CODEBOOKS
from worker.engine.qwen.active_segment import ActiveSegment
from worker.engine.qwen.codec.decoder import Codec
from worker.engine.qwen.cuda import HostCopy, Replayer, upload
from worker.engine.qwen.frame import FrameStep, Plan
from worker.engine.qwen.loader import Model
from worker.engine.qwen.predictor import Predictor
from worker.engine.qwen.sampler import Sampling
from worker.engine.qwen.state import Arena
from worker.engine.qwen.talker import Talker

N_SUPPRESSED = 1024  # ids at the end of the talker's vocabulary, which are no codes: only the end token is ever drawn
PREFILL_STEP = 32
GRAPH_ROWS = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64)
GRAPH_KINDS = ((False, False), (True, False), (False, True))  # (with top-p, with margins)


class ModelRunner:
    """Talker, predictor and codec with the state of every slot. n_positions: the most of prompt and frames together.

    lag: how many steps the host may launch before it reads the first one's codes.
    """

    def __init__(self, model: Model, n_slots: int, n_positions: int) -> None:
        config, codec = model.config.talker_config, cast(Any, model.codec)
        self.device, self.n_slots, self.n_positions = model.device, n_slots, n_positions
        self.eos = int(config.codec_eos_token_id)
        self._is_cuda = model.device.type == "cuda"
        self.lag = 1 if self._is_cuda else 0
        # One row more for the padding of steps. The codec adds a scratch slot for that of its own.
        self._talker = Talker(model.talker, n_slots + 1, n_positions, model.attention, model.kernels)
        upstream: Any = model.talker
        self._predictor = Predictor(upstream.code_predictor, n_slots + 1, model.kernels)
        self.arena = Arena(n_slots, self._talker, self._predictor.n_codes)
        self._step = FrameStep(
            self._talker, self._predictor, self.arena, _suppressed(config, self.device), self.eos,
            has_kernels=model.kernels == "triton",
        )  # fmt: skip
        self._codec = Codec(codec.decoder, n_slots, consume=True)
        self._graphs, self._codec_graphs = Replayer(self.device), Replayer(self.device)
        self._codec_stream = torch.cuda.Stream(self.device) if self._is_cuda else None
        self._codec_inputs: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
        self._prefill_inputs: dict[int, Tensor] = {}
        self._row = torch.zeros(1, dtype=torch.int64, device=self.device)
        self._stepping: tuple[int, ...] = ()
        self._follow()

    def upload(self, array: NDArray[np.generic]) -> Tensor:
        """An array on the device, without waiting for the work queued there."""
        return upload(array, self.device)

    def upload_codes(self, codes: NDArray[np.uint16]) -> Tensor:
        """Codes on the device, as int64: torch has few operations on uint16."""
        return self.upload(codes.astype(np.int64))

    def embed(self, codes: NDArray[np.uint16]) -> Tensor:
        """The embeddings of frames [n, 16] without their text: [n, D]."""
        columns = self.upload_codes(codes).unbind(1)
        tables = (self._talker.embedding, *self._predictor.tables)
        return torch.stack([t.index_select(0, c) for t, c in zip(tables, columns, strict=True)], 1).sum(1)

    def begin(self, segment: ActiveSegment) -> None:
        """Set its slot's row up for the segment's first step, and prefill its KV caches."""
        self.arena.begin(segment.slot, segment, self.upload_codes(segment.resumed[:, 0]))
        before = segment.prefill.embeds[:-1]
        if not len(before):
            return
        n = min(_up(len(before), PREFILL_STEP), self.n_positions)
        self._row.fill_(segment.slot)
        embeds = self._prefill_inputs.get(n)
        if embeds is None:
            embeds = functional.pad(before, (0, 0, 0, n - len(before)))
        else:
            embeds[: len(before)].copy_(before)
        self._graphs.run(("prefill", n), lambda: self._talker.prefill(embeds, self._row))

    def frame(self, rows: Sequence[int], lengths: Sequence[int], margins: bool) -> None:
        """Step these rows. lengths: how many positions of its KV cache each attends to, with the one it writes."""
        plan = self._plan(rows, margins)
        self._set_stepping(rows, plan.n_rows)
        padded = [*lengths, *[1] * (plan.n_rows - len(rows))]
        known = (None, None) if self._is_cuda else (self._stepping, padded)
        self._graphs.run(plan, lambda: self._step(plan, *known))

    def _set_stepping(self, rows: Sequence[int], n_rows: int) -> None:
        stepping = (*rows, *[self.arena.spare] * (n_rows - len(rows)))
        if stepping != self._stepping:
            self._stepping = stepping
            self.arena.stepping[:n_rows].copy_(self.upload(np.array(stepping, dtype=np.int64)))

    @property
    def codec_layout(self) -> str:
        """Names and shapes of a codec state's tensors."""
        return self._codec.layout

    def state_of(self, codes: Tensor) -> dict[str, Tensor]:
        """The codec's state after codes [n, 16], made on the current stream. May run beside every other method."""
        return self._codec.state_of(codes)

    def reset(self, slot: int, state: Mapping[str, Tensor]) -> None:
        """Set the codec's state of a slot; an empty mapping is the start of a stream."""
        self._follow()  # a stored state may still be on its way
        if self._codec_stream is not None:
            for tensor in state.values():
                if tensor.is_cuda:  # its memory must not be reused before the codec has read it
                    tensor.record_stream(self._codec_stream)
        with torch.cuda.stream(self._codec_stream):
            self._codec.reset(slot, state or None)

    def decode(self, slots: Sequence[int], codes: NDArray[np.uint16]) -> HostCopy:
        """Decode the next n frames of each slot: codes uint16 [B, n, 16] -> pcm float32 [B, n * 1920]."""
        with torch.cuda.stream(self._codec_stream):
            n_rows, n_frames = codes.shape[:2]
            bucket = self._bucket(n_rows)
            key = (bucket, n_frames)
            rows, chunk = self.upload(np.array(slots, dtype=np.int64)), self.upload_codes(codes)
            if key in self._codec_inputs:
                fixed_chunk, fixed_rows = self._codec_inputs[key]
                fixed_rows.fill_(self._codec.scratch)
                fixed_rows[:n_rows].copy_(rows)
                fixed_chunk[:n_rows].copy_(chunk)
                rows, chunk = fixed_rows, fixed_chunk
            pcm = self._codec_graphs.run(key, lambda: self._codec.decode(chunk, rows))
            assert pcm is not None
            return HostCopy(pcm[:n_rows])

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Run every usual shape once; on a GPU capture it. No slot may be open."""
        usual = Sampling().resolved({})
        for row in range(self.n_slots):
            self.arena.talker_draws.set(row, *usual.talker())
            self.arena.predictor_draws.set(row, *usual.predictor())
        for n in self._prefill_lengths():
            self._prefill_inputs[n] = self.arena.inputs.new_zeros(n, self.arena.inputs.shape[1])
            embeds = self._prefill_inputs[n]
            self._graphs.capture(("prefill", n), partial(self._talker.prefill, embeds, self._row))
        for plan in self._plans():
            self._set_stepping((), plan.n_rows)
            known = (None, None) if self._is_cuda else (range(plan.n_rows), [1] * plan.n_rows)
            self._graphs.capture(plan, partial(self._step, plan, *known))
        with torch.cuda.stream(self._codec_stream):
            for n_rows, n_frames in product(self._buckets(), CHUNK_RAMP):
                self._warm_codec(n_rows, n_frames)
        if self._is_cuda:
            torch.cuda.synchronize(self.device)

    def _follow(self) -> None:
        """Make the codec's stream wait for the work launched until now."""
        if self._codec_stream is not None:
            self._codec_stream.wait_stream(torch.cuda.current_stream(self.device))

    def _warm_codec(self, n_rows: int, n_frames: int) -> None:
        chunk = torch.zeros(n_rows, n_frames, N_CODEBOOKS, dtype=torch.int64, device=self.device)
        rows = torch.arange(n_rows, device=self.device)
        if self._is_cuda:
            self._codec_inputs[n_rows, n_frames] = (chunk, rows)
        self._codec_graphs.capture((n_rows, n_frames), lambda: self._codec.decode(chunk, rows))

    def _plans(self) -> Iterator[Plan]:
        if not self._is_cuda:
            yield from (self._plan(range(n_rows), margins=False) for n_rows in self._buckets())
            return
        # The largest first, so that the others fit its memory pool.
        for n_rows, (top_p, margins) in product(reversed(self._buckets()), GRAPH_KINDS):
            yield Plan(n_rows, top_p, margins)

    def _plan(self, rows: Sequence[int], margins: bool) -> Plan:
        top_p = self.arena.talker_draws.has_top_p(rows) or self.arena.predictor_draws.has_top_p(rows)
        return Plan(self._bucket(len(rows)), top_p, margins)

    def _bucket(self, n_rows: int) -> int:
        return next(n for n in self._buckets() if n >= n_rows)

    def _buckets(self) -> Sequence[int]:
        if not self._is_cuda:
            return range(1, self.n_slots + 1)
        return [n for n in GRAPH_ROWS if n < self.n_slots] + [self.n_slots]

    def _prefill_lengths(self) -> Iterator[int]:
        longest = min(self.n_positions, 512 if self._is_cuda else 8 * PREFILL_STEP)
        return iter(range(PREFILL_STEP, longest + 1, PREFILL_STEP))


def _up(n: int, step: int) -> int:
    return -(-n // step) * step


def _suppressed(config: Any, device: torch.device) -> Tensor:
    n_codes, eos = int(config.vocab_size), int(config.codec_eos_token_id)
    mask = torch.zeros(n_codes, device=device)
    mask[n_codes - N_SUPPRESSED :] = -torch.inf
    mask[eos] = 0.0
    return mask
