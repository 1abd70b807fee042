"""The model runner: prefill, one frame of the batch, and the codec, each in few shapes.

Shapes are rounded up to buckets. Every new shape costs a CUDA graph on a GPU, and memory that is never freed on a CPU.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.engine.qwen.active_segment import ActiveSegment
from worker.engine.qwen.buckets import Buckets
from worker.engine.qwen.codec_runner import CodecRunner
from worker.engine.qwen.cuda import URGENT, HostCopy, Key, Replayer, upload
from worker.engine.qwen.frame import FrameStep, Plan
from worker.engine.qwen.launch_times import LaunchTimes
from worker.engine.qwen.loader import Model
from worker.engine.qwen.packed_prefill import PackedPrefill
from worker.engine.qwen.predictor import Predictor
from worker.engine.qwen.row_prefill import RowPrefill
from worker.engine.qwen.sampler import Sampling
from worker.engine.qwen.state import Arena
from worker.engine.qwen.talker import Talker

N_SUPPRESSED = 1024  # ids at the end of the talker's vocabulary, which are no codes: only the end token is ever drawn


class ModelRunner:
    """Talker, predictor and codec with the state of every slot. n_positions: the most of prompt and frames together.

    lag: how many steps the host may launch before it reads the first one's codes. codec: runs beside the rest.
    """

    def __init__(self, model: Model, n_slots: int, n_positions: int) -> None:
        config, codec = model.config.talker_config, cast(Any, model.codec)
        self.device, self.n_slots, self.n_positions = model.device, n_slots, n_positions
        self.eos = int(config.codec_eos_token_id)
        self._is_cuda = model.device.type == "cuda"
        self.lag = 1 if self._is_cuda else 0
        # One row more for the padding of steps.
        self._talker = Talker(model.talker, n_slots + 1, n_positions, model.attention, model.kernels)
        upstream: Any = model.talker
        self._predictor = Predictor(upstream.code_predictor, n_slots + 1, model.kernels)
        self.arena = Arena(n_slots, self._talker, self._predictor.n_codes)
        self._step = FrameStep(
            self._talker, self._predictor, self.arena, _suppressed(config, self.device), self.eos,
            has_kernels=model.kernels == "triton",
        )  # fmt: skip
        self.codec = CodecRunner(codec.decoder, n_slots, self.device, model.kernels)
        self._graphs = Replayer(self.device, priority=URGENT)
        self._times = LaunchTimes(self.device)
        self._rows = Buckets.of_rows(n_slots, self._is_cuda)
        self._prefill: PackedPrefill | RowPrefill = RowPrefill(self._talker)  # a CPU gains nothing by packing
        if self._is_cuda:
            self._prefill = PackedPrefill(self._talker, n_slots, self.arena.spare, self._graphs, self._times)
        self._stepping: tuple[int, ...] = ()

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

    @property
    def replayers(self) -> tuple[Replayer, ...]:
        return self._graphs, *self.codec.replayers

    @property
    def n_eager(self) -> Counter[str]:
        """The launches that had no graph on a GPU, which takes longer, by kind: frame, prefill, codec."""
        return sum((replayer.n_eager for replayer in self.replayers), Counter())

    def frame_s(self, n_rows: int) -> float | None:
        """The device's time for a frame of n rows; None on a CPU, and before it is known."""
        return self._times.seconds(("frame", self._rows.of(n_rows)))

    def prefill_s(self, n_tokens: int) -> float | None:
        """The device's time for a prefill of so many tokens; None on a CPU, and before it is known."""
        return self._prefill.seconds(n_tokens)

    def begin(self, admitted: Sequence[ActiveSegment]) -> int:
        """Set their slots' rows up for the segments' first steps, and prefill the KV caches.

        Returns how many positions were computed.
        """
        for segment in admitted:
            self.arena.begin(segment.slot, segment, self.upload_codes(segment.resumed[:, 0]))
        return self._prefill.fill([(segment.slot, segment.prefill.embeds[:-1]) for segment in admitted])

    def frame(self, rows: Sequence[int], lengths: Sequence[int], margins: bool) -> tuple[HostCopy, HostCopy | None]:
        """Step these rows; returns their codes, and with margins these, on their way to the host.

        lengths: how many positions of its KV cache each attends to, with the one it writes.
        """
        plan = self._plan(rows, margins)
        self._set_stepping(rows, plan.n_rows)
        padded = [*lengths, *[1] * (plan.n_rows - len(rows))]
        known = (None, None) if self._is_cuda else (self._stepping, padded)
        with self._times.measure(("frame", plan.n_rows)):
            self._graphs.run(("frame", plan), lambda: self._step(plan, *known))
        n = len(rows)
        return HostCopy(self.arena.codes[:n]), HostCopy(self.arena.margins[:n]) if margins else None

    def _set_stepping(self, rows: Sequence[int], n_rows: int) -> None:
        stepping = (*rows, *[self.arena.spare] * (n_rows - len(rows)))
        if stepping != self._stepping:
            self._stepping = stepping
            self.arena.stepping[:n_rows].copy_(self.upload(np.array(stepping, dtype=np.int64)))

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Run every usual shape once; on a GPU capture it. No slot may be open."""
        usual = Sampling().resolved({})
        for row in range(self.n_slots):
            self.arena.talker_draws.set(row, *usual.talker())
            self.arena.predictor_draws.set(row, *usual.predictor())
        for key in self._prefill.shapes():
            self._warm(key, partial(self._prefill.run, key))
        for plan in self._plans():
            self._set_stepping((), plan.n_rows)
            known = (None, None) if self._is_cuda else (range(plan.n_rows), [1] * plan.n_rows)
            self._warm(("frame", plan), partial(self._step, plan, *known), timed_as=("frame", plan.n_rows))
        self.codec.warm_up()
        if self._is_cuda:
            torch.cuda.synchronize(self.device)

    def _warm(self, key: Key, function: Callable[[], None], timed_as: Key | None = None) -> None:
        self._graphs.capture(key, function)
        if self._is_cuda:
            self._graphs.run(key, function)  # a graph's first launch takes longer
            with self._times.measure(timed_as or key):
                self._graphs.run(key, function)

    def _plans(self) -> Iterator[Plan]:
        if not self._is_cuda:
            yield from (self._plan(range(n_rows), margins=False) for n_rows in self._rows.sizes)
            return
        # The largest first, so that the others fit its memory pool.
        yield from map(Plan, reversed(self._rows.sizes))

    def _plan(self, rows: Sequence[int], margins: bool) -> Plan:
        top_p = self.arena.talker_draws.has_top_p(rows) or self.arena.predictor_draws.has_top_p(rows)
        return Plan(self._rows.of(len(rows)), top_p, margins)


def _suppressed(config: Any, device: torch.device) -> Tensor:
    n_codes, eos = int(config.vocab_size), int(config.codec_eos_token_id)
    mask = torch.zeros(n_codes, device=device)
    mask[n_codes - N_SUPPRESSED :] = -torch.inf
    mask[eos] = 0.0
    return mask
