"""The codec runner: the codec's calls on two CUDA streams, beside the frames' one.

Wide calls decode many frames at once. Urgent ones (first audio, ends) overtake them: their stream has a higher
priority, and graphs, inputs and a padding row of its own. Calls of one slot follow each other whatever their streams;
calls of different slots run at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from math import inf
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.engine.base import CHUNK_RAMP, N_CODEBOOKS
from worker.engine.qwen.buckets import Buckets
from worker.engine.qwen.codec.decoder import REFERENCE_CHUNK_FRAMES, Codec
from worker.engine.qwen.cuda import URGENT, HostCopy, Replayer, upload

# The most rows times frames of a call. A wide one takes about 5 ms on an H100 by computation: the end of a slot that is
# in it waits no longer. An urgent one takes little more than the shortest call.
WIDE, NARROW = 128, 32


class _Lane:
    """A stream (None on a CPU) with its graphs and their inputs. padding: the codec's row that fills up its calls."""

    def __init__(self, device: torch.device, padding: int, most: int, priority: int) -> None:
        is_cuda = device.type == "cuda"
        self.padding = padding
        self.most = most if is_cuda else inf
        self.stream = torch.cuda.Stream(device, priority) if is_cuda else None
        self.graphs = Replayer(device, priority=priority)
        self.inputs: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}


class CodecRunner:
    """The codec with the state of `n_slots` slots.

    has_lanes: urgent calls overtake wide ones; False on a CPU, where a call ends before the next begins.
    """

    def __init__(self, decoder: Any, n_slots: int, device: torch.device, kernels: str) -> None:
        self._device = device
        self.has_lanes = device.type == "cuda"
        # One row more for the padding of urgent calls.
        self._codec = Codec(decoder, n_slots + 1, consume=True, kernels=kernels)
        self._buckets = Buckets.of_rows(n_slots, self.has_lanes)
        self._wide = _Lane(device, self._codec.scratch, WIDE, priority=0)
        self._urgent = _Lane(device, n_slots, NARROW, priority=URGENT)
        self._last_use: dict[int, tuple[_Lane, torch.cuda.Event]] = {}  # of a slot: where, and when it has ended

    @property
    def layout(self) -> str:
        """Names and shapes of a codec state's tensors."""
        return self._codec.layout

    @property
    def replayers(self) -> tuple[Replayer, Replayer]:
        return self._wide.graphs, self._urgent.graphs

    def most_rows(self, n_frames: int, is_urgent: bool) -> int:
        """The most slots of one call of n frames."""
        return self._buckets.within((self._urgent if is_urgent else self._wide).most / n_frames)

    def state_of(self, codes: Tensor) -> dict[str, Tensor]:
        """The codec's state after codes [n, 16], made on the current stream. May run beside every other method."""
        return self._codec.state_of(codes)

    def reset(self, slot: int, state: Mapping[str, Tensor]) -> None:
        """Set a slot's state; an empty mapping is the start of a stream."""
        lane = self._urgent  # a first audio must not wait for a wide call
        self._follow_current(lane)  # a stored state may still be on its way
        if lane.stream is not None:
            for tensor in state.values():
                if tensor.is_cuda:  # its memory must not be reused before the codec has read it
                    tensor.record_stream(lane.stream)
        with torch.cuda.stream(lane.stream):
            self._follow_last_use(lane, (slot,))
            self._codec.reset(slot, state or None)
            self._mark_use(lane, (slot,))

    def decode(self, slots: Sequence[int], codes: NDArray[np.uint16], is_urgent: bool = False) -> HostCopy:
        """Decode the next n frames of each slot: codes uint16 [B, n, 16] -> pcm float32 [B, n * 1920]."""
        lane = self._urgent if is_urgent else self._wide
        with torch.cuda.stream(lane.stream):
            n_rows, n_frames = codes.shape[:2]
            key = (self._buckets.of(n_rows), n_frames)
            rows = upload(np.array(slots, dtype=np.int64), self._device)
            chunk = upload(codes.astype(np.int64), self._device)
            if self.has_lanes:
                rows, chunk = self._filled(lane, key, rows, chunk)
            self._follow_last_use(lane, slots)
            pcm = lane.graphs.run(("codec", *key), lambda: self._codec.decode(chunk, rows))
            assert pcm is not None
            copy = HostCopy(pcm[:n_rows])
            self._mark_use(lane, slots)
            return copy

    def warm_up(self) -> None:
        """Run every usual shape once; on a GPU capture it. No slot may be in use."""
        lanes = (self._wide, self._urgent) if self.has_lanes else (self._wide,)
        for lane in lanes:
            with torch.cuda.stream(lane.stream):
                for key in self._shapes(lane):
                    chunk, rows = self._inputs(lane, key)
                    lane.graphs.capture(("codec", *key), lambda: self._codec.decode(chunk, rows))  # noqa: B023
        if self.has_lanes:  # the lengths of a voice's chunks: Triton would compile for them when one is made
            for n in range(1, REFERENCE_CHUNK_FRAMES + 1):
                self.state_of(torch.zeros(n, N_CODEBOOKS, dtype=torch.int64, device=self._device))

    def _shapes(self, lane: _Lane) -> Iterator[tuple[int, int]]:
        """The largest first, so that the others fit its memory pool."""
        largest_first = sorted(product(self._buckets.sizes, CHUNK_RAMP), key=lambda key: (-key[0] * key[1], key))
        return (key for key in largest_first if key[0] <= self._buckets.within(lane.most / key[1]))

    def _inputs(self, lane: _Lane, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """The codes [rows, frames, 16] and rows that a graph reads, at fixed addresses."""
        n_rows, n_frames = key
        chunk = torch.zeros(n_rows, n_frames, N_CODEBOOKS, dtype=torch.int64, device=self._device)
        rows = torch.arange(n_rows, device=self._device)
        if self.has_lanes:
            lane.inputs[key] = chunk, rows.fill_(lane.padding)
        return chunk, rows

    def _filled(self, lane: _Lane, key: tuple[int, int], rows: Tensor, chunk: Tensor) -> tuple[Tensor, Tensor]:
        fixed_chunk, fixed_rows = lane.inputs.get(key) or self._inputs(lane, key)
        fixed_rows.fill_(lane.padding)
        fixed_rows[: len(rows)].copy_(rows)
        fixed_chunk[: len(chunk)].copy_(chunk)
        return fixed_rows, fixed_chunk

    def _follow_current(self, lane: _Lane) -> None:
        """Make a lane wait for the work launched until now on the current stream."""
        if lane.stream is not None:
            lane.stream.wait_stream(torch.cuda.current_stream(self._device))

    def _follow_last_use(self, lane: _Lane, slots: Sequence[int]) -> None:
        """Make a lane wait for the slots' calls on the other."""
        if lane.stream is None:
            return
        uses = [self._last_use[slot] for slot in slots if slot in self._last_use]
        for event in {event for other, event in uses if other is not lane}:
            lane.stream.wait_event(event)

    def _mark_use(self, lane: _Lane, slots: Sequence[int]) -> None:
        if lane.stream is not None:
            ended = torch.cuda.Event()
            ended.record(lane.stream)
            self._last_use.update(dict.fromkeys(slots, (lane, ended)))
