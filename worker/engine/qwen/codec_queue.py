"""The codec queue: calls under way, and which of them the host waits for.

Only a first audio or an end is waited for, and only where it runs on the urgent stream. Every other call is read once
it is done. A slot's frames come out in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from worker.engine.qwen.active_segment import ActiveSegment, Codes
from worker.engine.qwen.codec_runner import CodecRunner
from worker.engine.qwen.cuda import HostCopy


@dataclass(frozen=True, slots=True)
class CodecCall:
    """Frames of several segments on their way through the codec. codes: [segments, n, 16]."""

    segments: Sequence[ActiveSegment]
    codes: Codes
    pcm: HostCopy

    @property
    def slots(self) -> set[int]:
        return {segment.slot for segment in self.segments}


class CodecQueue:
    """The calls of one batch. A slot in an unread wide call has its next call there too, not on the urgent stream."""

    def __init__(self, codec: CodecRunner) -> None:
        self._codec = codec
        self._urgent: deque[CodecCall] = deque()
        self._wide: deque[CodecCall] = deque()

    @property
    def slots(self) -> set[int]:
        return {slot for call in (*self._urgent, *self._wide) for slot in call.slots}

    def launch(self, segments: Sequence[ActiveSegment], n_frames: int) -> None:
        """Decode the next n frames of each segment."""
        in_wide = {slot for call in self._wide for slot in call.slots}
        urgent = [segment for segment in segments if _is_urgent(segment) and segment.slot not in in_wide]
        if not self._codec.has_lanes:
            urgent = list(segments) if urgent else []
        rest = [segment for segment in segments if segment not in urgent]
        self._launch(urgent, n_frames, is_urgent=True)
        self._launch(rest, n_frames, is_urgent=False)

    def take(self, may_wait: bool, is_idle: bool = False) -> list[CodecCall]:
        """The calls to read now. may_wait: urgent ones need not be done. is_idle: nor need the oldest."""
        taken = []
        while self._urgent and (may_wait or self._urgent[0].pcm.is_done):
            taken.append(self._urgent.popleft())
        unread = {slot for call in self._urgent for slot in call.slots}
        while self._wide and unread.isdisjoint(self._wide[0].slots):
            if not (self._wide[0].pcm.is_done or (is_idle and not taken)):
                break
            taken.append(self._wide.popleft())
        return taken

    def _launch(self, segments: Sequence[ActiveSegment], n_frames: int, is_urgent: bool) -> None:
        most = self._codec.most_rows(n_frames, is_urgent)
        for first in range(0, len(segments), most):
            part = segments[first : first + most]
            codes = np.stack([[segment.pending.popleft() for _ in range(n_frames)] for segment in part])
            pcm = self._codec.decode([segment.slot for segment in part], codes, is_urgent)
            (self._urgent if is_urgent else self._wide).append(CodecCall(part, codes, pcm))
            for segment in part:
                segment.n_codec_calls += 1


def _is_urgent(segment: ActiveSegment) -> bool:
    return not segment.n_codec_calls or segment.finish is not None
