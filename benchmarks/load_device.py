"""A simulated GPU, clock and model runner: what a Batch uses of the real ones, with times from a step-time table.

Three streams run at once: frames with prefills, urgent codec calls, and wide ones. The part of a codec call that does
not hide beside the frames delays them. Wide calls have the lower priority and take longer for it. Frames hold no
speech: zeros of the right shapes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.load_times import StepTable
from worker.engine.base import FRAME_SAMPLES, N_CODEBOOKS
from worker.engine.qwen.active_segment import ActiveSegment

EOS = 2150
N_PROMPT = 160  # positions of a usual prompt: a reference of 8 s and a sentence
WIDE, NARROW = 128, 32  # rows times frames of one codec call at most, as in worker.engine.qwen.codec_runner


@dataclass(slots=True)
class SimClock:
    """Seconds; moves when the host works or waits."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now

    def wait_until(self, moment: float) -> None:
        self.now = max(self.now, moment)


@dataclass(slots=True)
class SimCopy:
    """A result on its way to the host."""

    values: NDArray[np.generic]
    done_at: float
    clock: SimClock

    @property
    def is_done(self) -> bool:
        return self.clock() >= self.done_at

    def wait(self) -> NDArray[np.generic]:
        self.clock.wait_until(self.done_at)
        return self.values


@dataclass(slots=True)
class SimDevice:
    """The streams: when each is free. busy_s: seconds of the frames' stream."""

    table: StepTable
    clock: SimClock
    busy_s: float = 0.0
    _frames_free: float = 0.0
    _codec_free: dict[bool, float] = field(default_factory=lambda: {True: 0.0, False: 0.0})  # by is_urgent
    _in_flight: list[SimCopy] = field(default_factory=list)

    def launch(self, seconds: float) -> float:
        """Queue work on the frames' stream; returns when it is done."""
        self._frames_free = max(self._frames_free, self.clock()) + seconds
        self.busy_s += seconds
        return self._frames_free

    def frame(self, codes: NDArray[np.generic], seconds: float) -> SimCopy:
        copy = SimCopy(codes, self.launch(seconds), self.clock)
        self._in_flight = [one for one in self._in_flight if not one.is_done] + [copy]
        return copy

    def codec(self, pcm: NDArray[np.generic], seconds: float, is_urgent: bool) -> SimCopy:
        shown_s = seconds * (1 - self.table.codec_hidden)
        taken_s = seconds if is_urgent else seconds + shown_s
        done_at = max(self._codec_free[is_urgent], self.clock()) + taken_s
        self._codec_free[is_urgent] = done_at
        if self._frames_free > self.clock():
            self._frames_free += shown_s
            for copy in self._in_flight:
                copy.done_at += shown_s if not copy.is_done else 0.0
        self.busy_s += shown_s
        return SimCopy(pcm, done_at, self.clock)


class SimArena:
    """The rows that a Batch writes to itself."""

    def __init__(self, n_rows: int) -> None:
        self.text = torch.zeros(n_rows, 1)

    def set_earliest_end(self, row: int, segment: ActiveSegment) -> None:
        """No segment ends early here."""


class SimCodec:
    """The codec's calls, as `CodecRunner` takes them. has_lanes: False for one stream without priorities."""

    def __init__(self, device: SimDevice, has_lanes: bool) -> None:
        self._device = device
        self.has_lanes = has_lanes

    def most_rows(self, n_frames: int, is_urgent: bool) -> int:
        return max(1, (NARROW if is_urgent and self.has_lanes else WIDE) // n_frames)

    def reset(self, slot: int, state: Mapping[str, Tensor]) -> None:
        """Costs a copy, which counts as nothing."""

    def decode(self, slots: Sequence[int], codes: NDArray[np.uint16], is_urgent: bool = False) -> SimCopy:
        n_rows, n_frames = codes.shape[:2]
        pcm = np.broadcast_to(np.float32(0), (n_rows, n_frames * FRAME_SAMPLES))
        return self._device.codec(pcm, self._device.table.codec_s(n_rows, n_frames), is_urgent and self.has_lanes)


class SimRunner:
    """A ModelRunner for `Batch`. lengths: frames of the segment with each seed; then it draws the end token."""

    lag = 1
    eos = EOS

    def __init__(
        self, table: StepTable, clock: SimClock, n_slots: int, lengths: Sequence[int], has_lanes: bool
    ) -> None:
        self.n_slots = n_slots
        self.arena = SimArena(n_slots)
        self.device = SimDevice(table, clock)
        self.codec = SimCodec(self.device, has_lanes)
        self._table = table
        self._clock = clock
        self._lengths = lengths
        self._left: dict[int, int] = {}  # row -> frames until its end

    def frame_s(self, n_rows: int) -> float:
        return self._table.frame_s(max(n_rows, 1), min(self._table.frames))

    def prefill_s(self, n_tokens: int) -> float:
        """Of segments with usual prompts, as a device that has run them before knows."""
        if self._table.is_packed:
            return self._table.prefill_s(n_tokens)
        return n_tokens / N_PROMPT * self._table.prefill_s(N_PROMPT)

    def begin(self, admitted: Sequence[ActiveSegment]) -> None:
        for segment in admitted:
            self._left[segment.slot] = self._lengths[segment.seed] - len(segment.resumed)
        self.device.launch(self._table.prefills_s([segment.prefill.n_positions for segment in admitted]))

    def frame(self, rows: Sequence[int], lengths: Sequence[int], margins: bool) -> tuple[SimCopy, None]:
        self._clock.now += self._table.host_s
        codes = np.zeros((len(rows), N_CODEBOOKS), np.int64)
        for n, row in enumerate(rows):
            codes[n, 0] = 0 if self._left[row] > 0 else EOS
            self._left[row] -= 1
        return self.device.frame(codes, self._table.frame_s(len(rows), max(lengths))), None
