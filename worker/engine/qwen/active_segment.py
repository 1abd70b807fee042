"""A segment in the running batch, from the opening of its slot to its last frame."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from worker.engine.base import FRAME_S, Finish, Frames
from worker.engine.qwen.chunks import ChunkBacklog
from worker.engine.qwen.prompt import Prefill
from worker.engine.qwen.read_along import ReadAlong
from worker.engine.qwen.sampler import Sampling

Codes = NDArray[np.uint16]


@dataclass(slots=True, eq=False)
class ActiveSegment:
    """The state of one segment: its prompt and sampling, its codes on their way through the codec, and its end.

    prefill: the prompt's embeddings, then those of the resumed frames, and the text that is read later. state: the
    codec's state before the first frame. sampling: resolved. max_frames: the frame budget, which counts resumed frames.
    resumed: their codes, [n, 16]; emits_resumed: they are emitted again. wants_margins: see `Frames.margins`. room: the
    most frames that fit a slot, where an open segment ends. resumed_lead_s: see `Resume.lead_s`. An object is opened
    once.
    """

    prefill: Prefill | ReadAlong
    state: Mapping[str, Tensor]
    sampling: Sampling
    seed: int
    max_frames: int
    resumed: Codes
    emits_resumed: bool = False
    wants_margins: bool = False
    room: int = 0
    resumed_lead_s: float = 0.0
    slot: int = field(init=False, default=-1)
    opened_at: float = field(init=False, default=inf)  # by the batch's clock
    # Frames counted from the segment's first: steps launched, codes read by the host, samples emitted.
    n_launched: int = field(init=False)
    n_landed: int = field(init=False)
    n_emitted: int = field(init=False)
    pending: deque[Codes] = field(init=False, default_factory=deque)  # codes that the codec has not decoded
    margins: deque[NDArray[np.float32]] = field(init=False, default_factory=deque)
    n_codec_calls: int = field(init=False, default=0)
    first_emitted_at: float = field(init=False, default=inf)
    finish: Finish | None = field(init=False, default=None)  # once set, no code follows the pending ones

    def __post_init__(self) -> None:
        self.n_launched = self.n_landed = len(self.resumed)
        self.n_emitted = 0 if self.emits_resumed else len(self.resumed)

    @property
    def position(self) -> int:
        """The position in the talker's KV cache that the next step writes."""
        return self.prefill.n_positions - 1 + self.n_launched - len(self.resumed)

    @property
    def text(self) -> Tensor:
        """The text embedding that the next step adds to its frame's: [D]."""
        return self.prefill.text(self.n_launched)

    @property
    def text_changes(self) -> bool:
        """False once `text` is the pad, and was so a step ago."""
        return self.n_launched <= self.prefill.n_trailing

    @property
    def is_held(self) -> bool:
        """True for an open segment until more text comes: its next frame would need it."""
        return self.prefill.is_open and self.n_launched >= min(self.prefill.n_trailing, self.max_frames)

    @property
    def can_step(self) -> bool:
        return self.n_launched < self._limit and not self.is_held

    @property
    def _limit(self) -> int:
        return self.room if self.prefill.is_open else self.max_frames

    def extend(self, text: str, is_end: bool, max_frames: int, now: float) -> None:
        """Append text to an open segment. max_frames: the budget of all its text. Raises PromptError."""
        if not isinstance(self.prefill, ReadAlong) or not self.prefill.is_open or self.finish is not None:
            return
        was_held = self.is_held
        self.prefill.extend(text, is_end)
        self.max_frames = max(min(max_frames, self.room), len(self.resumed))
        self.end_at_limit()
        if was_held:  # a playback that has run dry meanwhile begins again
            self.first_emitted_at = max(self.first_emitted_at, now - self._emitted_s)

    def end_at_limit(self) -> None:
        if self.finish is None and self.n_landed >= self._limit:
            self.finish = Finish.LENGTH

    def lead_s(self, now: float) -> float:
        """Audio emitted minus the time since the first of it; inf before it."""
        if not self.n_codec_calls:
            return inf
        return self._emitted_s - (now - self.first_emitted_at)

    @property
    def _emitted_s(self) -> float:
        return max(0, self.n_emitted - len(self.resumed)) * FRAME_S

    def backlog(self, now: float) -> ChunkBacklog:
        is_last = self.finish is not None or self.is_held
        return ChunkBacklog(self.slot, len(self.pending), self.n_codec_calls, is_last, self.lead_s(now))

    def replay(self) -> None:
        """Queue the resumed frames for the codec again."""
        self.pending.extend(self.resumed)
        if self.wants_margins:
            self.margins.extend(np.full(self.resumed.shape, inf, np.float32))

    def land(self, codes: Codes, margins: NDArray[np.float32] | None, eos: int) -> None:
        """Take the codes of one step, [16], unless they are the end token; margins: [16]."""
        if codes[0] == eos:
            self.finish = Finish.STOP
            return
        self.pending.append(codes)
        if margins is not None and self.wants_margins:
            self.margins.append(margins)
        self.n_landed += 1
        self.end_at_limit()

    def frames(self, codes: Codes, pcm: NDArray[np.float32], now: float) -> Frames:
        """The next n frames as they are emitted: codes [n, 16], pcm [n * 1920]."""
        first = self.n_emitted
        self.n_emitted += len(codes)
        if self.first_emitted_at == inf:
            self.first_emitted_at = now + self.resumed_lead_s
        margins = np.stack([self.margins.popleft() for _ in codes]) if self.wants_margins else None
        return Frames(self.slot, first, pcm, codes, margins=margins)
