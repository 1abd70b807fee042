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
from worker.engine.qwen.sampler import Sampling

Codes = NDArray[np.uint16]


@dataclass(slots=True, eq=False)
class ActiveSegment:
    """The state of one segment: its prompt and sampling, its codes on their way through the codec, and its end.

    prefill: the prompt's embeddings, then those of the resumed frames. state: the codec's state before the first frame.
    sampling: resolved. max_frames: the frame budget, which counts resumed frames. resumed: their codes, [n, 16];
    emits_resumed: they are emitted again. wants_margins: see `Frames.margins`. An object can be opened once.
    """

    prefill: Prefill
    state: Mapping[str, Tensor]
    sampling: Sampling
    seed: int
    max_frames: int
    resumed: Codes
    emits_resumed: bool = False
    wants_margins: bool = False
    slot: int = field(init=False, default=-1)
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
        return len(self.prefill.embeds) - 1 + self.n_launched - len(self.resumed)

    @property
    def text(self) -> Tensor:
        """The text embedding that the next step adds to its frame's: [D]."""
        trailing = self.prefill.trailing
        return trailing[self.n_launched] if self.n_launched < len(trailing) else self.prefill.pad

    @property
    def text_changes(self) -> bool:
        """False once `text` is the pad, and was so a step ago."""
        return self.n_launched <= len(self.prefill.trailing)

    @property
    def has_budget(self) -> bool:
        return self.n_launched < self.max_frames

    def lead_s(self, now: float) -> float:
        """Audio emitted minus the time since the first of it; inf before it."""
        if not self.n_codec_calls:
            return inf
        return (self.n_emitted - len(self.resumed)) * FRAME_S - (now - self.first_emitted_at)

    def backlog(self, now: float) -> ChunkBacklog:
        return ChunkBacklog(self.slot, len(self.pending), self.n_codec_calls, self.finish is not None, self.lead_s(now))

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
        if self.n_landed >= self.max_frames:
            self.finish = Finish.LENGTH

    def frames(self, codes: Codes, pcm: NDArray[np.float32], now: float) -> Frames:
        """The next n frames as they are emitted: codes [n, 16], pcm [n * 1920]."""
        first = self.n_emitted
        self.n_emitted += len(codes)
        self.first_emitted_at = min(self.first_emitted_at, now)
        margins = np.stack([self.margins.popleft() for _ in codes]) if self.wants_margins else None
        return Frames(self.slot, first, pcm, codes, margins=margins)
