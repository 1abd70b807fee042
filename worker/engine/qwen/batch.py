"""The running batch: slots are opened and left while their neighbours go on.

`step` reads as the engine works: admit, arrange, launch, land, decode, give. On a GPU the host reads the codes of the
step before the one it has just launched, so that neither waits for the other; while a slot waits for its first sound
it reads them at once. A slot that ended then takes part in one step more, of which nothing is kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from math import inf
from statistics import median
from time import monotonic

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.engine.base import FRAME_RATE_HZ, NO_CODES, EngineError, Finish
from worker.engine.qwen.chunks import ChunkBacklog, Schedule
from worker.engine.qwen.cuda import HostCopy
from worker.engine.qwen.prompt import Prefill
from worker.engine.qwen.runner import ModelRunner
from worker.engine.qwen.sampler import Sampling
from worker.engine.qwen.state import RowStart

Codes = NDArray[np.uint16]
FRAME_S = 1 / FRAME_RATE_HZ
N_TIMES = 16  # of which the median is the measured time of a step or a prefill
COMPANY = 2  # speak on any machine: one that is too slow for a pair makes neither whole by having the other wait
BUSY_ROWS = 16  # from here on the codec decodes wide chunks wherever nobody waits for them


@dataclass(frozen=True, slots=True)
class Order:
    """What a slot is opened with.

    prefill: with the resumed frames at its end. resumed: their codes, uint16 [n, 16]; `gives_resumed` gives them again.
    max_frames counts them. state: the codec decoder's before the first frame.
    """

    prefill: Prefill
    state: Mapping[str, Tensor]
    sampling: Sampling
    seed: int
    max_frames: int
    resumed: Codes
    gives_resumed: bool = False
    margins: bool = False


@dataclass(frozen=True, slots=True)
class Spoken:
    """Frames of a slot: codes uint16 [n, 16], pcm float32 [n * 1920], margins float32 [n, 16] where asked for."""

    slot: int
    first_frame: int
    codes: Codes
    pcm: NDArray[np.float32]
    margins: NDArray[np.float32] | None = None
    finish: Finish | None = None


@dataclass(slots=True, eq=False)
class _Open:
    """A slot that is open. n_launched, n_landed, n_given: frames, counted from the utterance's first."""

    slot: int
    order: Order
    n_launched: int
    n_landed: int
    n_given: int
    pending: deque[Codes] = field(default_factory=deque)
    margins: deque[NDArray[np.float32]] = field(default_factory=deque)
    n_chunks: int = 0
    began_at: float = inf
    finish: Finish | None = None

    @property
    def position(self) -> int:
        return len(self.order.prefill.embeds) - 1 + self.n_launched - len(self.order.resumed)

    def line(self, now: float) -> ChunkBacklog:
        lead_s = (self.n_given - len(self.order.resumed)) * FRAME_S - (now - self.began_at) if self.n_chunks else inf
        return ChunkBacklog(self.slot, len(self.pending), self.n_chunks, self.finish is not None, lead_s)


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Frames of several slots on their way through the codec. codes: [slots, n, 16]."""

    opened: list[_Open]
    codes: Codes
    pcm: HostCopy
    is_urgent: bool


class Batch:
    """The slots of a Forward. is_live: somebody listens, so a slot that could only stutter waits to be admitted.

    A resumed one has its listener already and comes first.
    """

    def __init__(
        self, forward: ModelRunner, schedule: Schedule, is_live: bool, clock: Callable[[], float] = monotonic
    ) -> None:
        self._forward = forward
        self._schedule = schedule
        self._is_live = is_live
        self._clock = clock
        self._step_s: deque[float] = deque(maxlen=N_TIMES)
        self._prefill_s: deque[float] = deque(maxlen=N_TIMES)
        self.reset()

    def reset(self) -> None:
        """Forget everything that is open."""
        self._slots: dict[int, _Open] = {}
        self._waiting: deque[_Open] = deque()
        self._rows: list[_Open] = []  # the n-th has row n of the arena
        self._flying: deque[tuple[list[_Open], HostCopy, HostCopy | None]] = deque()
        self._chunks: deque[_Chunk] = deque()

    @property
    def open_slots(self) -> Collection[int]:
        return self._slots.keys()

    def open(self, order: Order) -> int:
        """Take a free slot. Raises EngineError when none is free."""
        slot = next((n for n in range(self._forward.n_slots) if n not in self._slots), None)
        if slot is None:
            raise EngineError(f"all {self._forward.n_slots} slots are taken; wait for one, or load with more")
        n = len(order.resumed)
        self._slots[slot] = opened = _Open(slot, order, n, n, 0 if order.gives_resumed else n)
        if n >= order.max_frames:
            opened.finish = Finish.LENGTH
        self._waiting.insert(0 if n else len(self._waiting), opened)
        return slot

    def cancel(self, slot: int) -> None:
        """End a slot with the next step; harmless when it is not open."""
        if (opened := self._slots.get(slot)) is not None:
            opened.finish = Finish.CANCELLED
            opened.pending.clear()

    def drop(self, slot: int) -> None:
        """Free a slot at once; nothing more is given of it."""
        self.cancel(slot)
        self._slots.pop(slot, None)

    @torch.inference_mode()
    def step(self, held: Collection[int] = ()) -> list[Spoken]:
        """Advance every open slot that is not held; what they were given, the most urgent first."""
        began, n_waiting = self._clock(), len(self._waiting)
        self._leave()
        self._admit(held)
        stepping = self._arranged(held)
        self._launch(stepping)
        self._land()
        self._decode(held)
        given = self._give()
        if stepping and len(self._waiting) == n_waiting:
            self._step_s.append(self._clock() - began)
        return given

    # Admit: first audio first.

    def _admit(self, held: Collection[int]) -> None:
        n, n_speaking = 0, sum(opened.slot not in held for opened in self._rows)
        while self._waiting and (n == 0 or self._may_prefill_another()):
            opened = self._waiting[0]
            is_full = n_speaking >= COMPANY and _typical(self._step_s) > FRAME_S
            if self._is_live and is_full and opened.finish is None and not len(opened.order.resumed):
                return
            self._waiting.popleft()
            began = self._clock()
            if opened.finish is not Finish.CANCELLED:
                self._replay(opened)
            if opened.finish is None:
                self._begin(opened)
                self._prefill_s.append(self._clock() - began)
                n += 1

    def _may_prefill_another(self) -> bool:
        """Together they are heard sooner when a prefill costs less than a step, if nobody runs dry meanwhile."""
        step_s, prefill_s = _typical(self._step_s), _typical(self._prefill_s)
        now = self._clock()
        leads = (opened.line(now).lead_s for opened in self._rows)
        return prefill_s <= step_s and (not self._is_live or min(leads, default=inf) > step_s + prefill_s)

    def _replay(self, opened: _Open) -> None:
        """Put the codec to where the resumed frames leave it, or queue them to be given again."""
        order = opened.order
        self._forward.reset(opened.slot, order.state)
        if order.gives_resumed:
            opened.pending.extend(order.resumed)
            if order.margins:
                opened.margins.extend(np.full(order.resumed.shape, inf, np.float32))
            return
        rest = order.resumed
        while len(rest):
            n = next(size for size in reversed(self._schedule.sizes) if size <= len(rest))
            self._forward.decode([opened.slot], rest[None, :n])
            rest = rest[n:]

    def _begin(self, opened: _Open) -> None:
        order, prefill = opened.order, opened.order.prefill
        start = RowStart(
            first=prefill.embeds[-1],
            text=_text(prefill, opened.n_launched),
            position=opened.position,
            frame=opened.n_launched,
            seed=order.seed,
            sampling=order.sampling,
            seen=self._forward.upload_codes(order.resumed[:, 0]),
        )
        self._forward.begin(len(self._rows), start, prefill.embeds[:-1])
        self._rows.append(opened)

    # Arrange and launch: the slots that step are the arena's first rows.

    def _arranged(self, held: Collection[int]) -> list[_Open]:
        n = 0
        for row, opened in enumerate(self._rows):
            if opened.slot not in held and opened.n_launched < opened.order.max_frames:
                if row != n:
                    self._swap(row, n)
                n += 1
        return self._rows[:n]

    def _leave(self) -> None:
        """Fill the rows of those who have ended from behind."""
        for opened in [opened for opened in self._rows if opened.finish is not None]:
            row, last = self._rows.index(opened), self._rows.pop()
            if last is not opened:
                self._forward.arena.move(len(self._rows), row, last.position + 1)
                self._rows[row] = last

    def _swap(self, a: int, b: int) -> None:
        arena, rows = self._forward.arena, self._rows
        arena.move(a, arena.n_rows, rows[a].position + 1)
        arena.move(b, a, rows[b].position + 1)
        arena.move(arena.n_rows, b, rows[a].position + 1)
        rows[a], rows[b] = rows[b], rows[a]

    def _launch(self, stepping: list[_Open]) -> None:
        if not stepping:
            return
        arena, n = self._forward.arena, len(stepping)
        for row, opened in enumerate(stepping):
            if opened.n_launched <= len(opened.order.prefill.trailing):
                arena.text[row].copy_(_text(opened.order.prefill, opened.n_launched))
        margins = any(opened.order.margins for opened in stepping)
        self._forward.frame(n, max(opened.position for opened in stepping) + 1, margins)
        for opened in stepping:
            opened.n_launched += 1
        self._flying.append((stepping, HostCopy(arena.codes[:n]), HostCopy(arena.margins[:n]) if margins else None))

    # Land: what the host learns of steps launched.

    def _land(self) -> None:
        while self._flying and (len(self._flying) > self._forward.lag or self._must_land()):
            stepped, codes, margins = self._flying.popleft()
            all_codes = codes.wait().astype(np.uint16)
            all_margins = None if margins is None else margins.wait()
            for n, opened in enumerate(stepped):
                if opened.finish is None:
                    self._take(opened, all_codes[n])
                    if all_margins is not None and opened.order.margins and opened.finish is not Finish.STOP:
                        opened.margins.append(all_margins[n])

    def _must_land(self) -> bool:
        """Somebody waits for a first sound, or may have no step left in which to hear of this one."""
        stepped = self._flying[-1][0]
        return any(not opened.n_chunks or opened.n_launched >= opened.order.max_frames for opened in stepped)

    def _take(self, opened: _Open, codes: Codes) -> None:
        if codes[0] == self._forward.eos:
            opened.finish = Finish.STOP
            return
        opened.pending.append(codes)
        opened.n_landed += 1
        if opened.n_landed >= opened.order.max_frames:
            opened.finish = Finish.LENGTH

    # Decode and give.

    def _decode(self, held: Collection[int]) -> None:
        now = self._clock()
        idle = {opened.slot for opened in self._waiting}.union(held)
        lines = [opened.line(now) for opened in self._slots.values() if opened.slot not in idle]
        for group in self._schedule.plan(lines, is_busy=self._is_live and len(self._rows) >= BUSY_ROWS):
            decoded = [self._slots[slot] for slot in group.slots]
            codes = np.stack([[opened.pending.popleft() for _ in range(group.n_frames)] for opened in decoded])
            is_urgent = any(not opened.n_chunks or opened.finish for opened in decoded)
            self._chunks.append(_Chunk(decoded, codes, self._forward.decode(group.slots, codes), is_urgent))
            for opened in decoded:
                opened.n_chunks += 1

    def _give(self) -> list[Spoken]:
        """What has come out of the codec; it is waited for only where somebody waits for a first sound or an end."""
        given: list[Spoken] = []
        is_urgent = not self._flying or any(chunk.is_urgent for chunk in self._chunks)
        while self._chunks and (is_urgent or self._chunks[0].pcm.is_done):
            chunk = self._chunks.popleft()
            for opened, codes, pcm in zip(chunk.opened, chunk.codes, chunk.pcm.wait(), strict=True):
                if opened.finish is not Finish.CANCELLED:
                    given.append(self._spoken(opened, codes, pcm))
        return self._ended(given)

    def _spoken(self, opened: _Open, codes: Codes, pcm: NDArray[np.float32]) -> Spoken:
        first = opened.n_given
        opened.n_given += len(codes)
        opened.began_at = min(opened.began_at, self._clock())
        margins = None
        if opened.order.margins:
            margins = np.stack([opened.margins.popleft() for _ in codes])
        return Spoken(opened.slot, first, codes, pcm, margins)

    def _ended(self, given: list[Spoken]) -> list[Spoken]:
        """The same with the reason at each end, and the slots that ended free."""
        waiting = {opened.slot for opened in self._waiting if opened.finish is not Finish.CANCELLED}
        in_codec = {opened.slot for chunk in self._chunks for opened in chunk.opened}
        for opened in list(self._slots.values()):
            if opened.finish is None or opened.pending or opened.slot in in_codec or opened.slot in waiting:
                continue
            del self._slots[opened.slot]
            last = next((n for n in reversed(range(len(given))) if given[n].slot == opened.slot), None)
            if last is None:
                given.append(Spoken(opened.slot, opened.n_given, NO_CODES, _SILENCE, finish=opened.finish))
            else:
                given[last] = replace(given[last], finish=opened.finish)
        return given


def _text(prefill: Prefill, frame: int) -> Tensor:
    """What is added to this frame's embedding: [D]."""
    return prefill.trailing[frame] if frame < len(prefill.trailing) else prefill.pad


def _typical(times: deque[float]) -> float:
    return median(times) if times else 0.0


_SILENCE = np.zeros(0, dtype=np.float32)
