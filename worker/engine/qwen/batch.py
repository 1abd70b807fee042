"""The running batch: segments join and leave it while their neighbours go on (continuous batching).

`step` reads as the engine works: leave, admit, launch, give, land, decode. On a GPU the host reads the codes of the
step before the one it has just launched, and waits for samples only once that is launched, so the device has a frame to
compute whenever the host waits. A segment that ended therefore takes part in one step more, whose codes are ignored.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from math import inf
from time import monotonic

import numpy as np
import torch

from worker.engine.base import NO_CODES, SILENCE, EngineError, Finish, Frames
from worker.engine.qwen.active_segment import ActiveSegment
from worker.engine.qwen.admission import BatchPolicy, MeasuredTimes, Newcomer
from worker.engine.qwen.chunks import Schedule
from worker.engine.qwen.codec_queue import CodecCall, CodecQueue
from worker.engine.qwen.cuda import HostCopy
from worker.engine.qwen.launch_times import RunnerTimes
from worker.engine.qwen.runner import ModelRunner


@dataclass(frozen=True, slots=True)
class _Step:
    """A step whose codes the host has not read."""

    segments: list[ActiveSegment]
    codes: HostCopy
    margins: HostCopy | None


class Batch:
    """The slots of a ModelRunner, and the segments in them.

    is_live: the audio is played as it comes, so a segment that could only stutter waits to be admitted. A resumed one
    already has its listener and is admitted first. policy: who begins and who steps; None for the worker's own.
    """

    def __init__(
        self,
        runner: ModelRunner,
        schedule: Schedule,
        is_live: bool,
        clock: Callable[[], float] = monotonic,
        policy: BatchPolicy | None = None,
    ) -> None:
        self._runner = runner
        self._schedule = schedule
        self._clock = clock
        self._policy = policy or BatchPolicy(is_live)
        self._measured = MeasuredTimes()
        self._times = RunnerTimes(runner, self._measured)
        self.reset()

    def reset(self) -> None:
        """Forget every open segment."""
        self._slots: dict[int, ActiveSegment] = {}
        self._waiting: deque[ActiveSegment] = deque()
        self._rows: list[ActiveSegment] = []  # admitted; each has its slot's row of the arena
        self._launched: deque[_Step] = deque()
        self._codec = CodecQueue(self._runner.codec)

    @property
    def open_slots(self) -> Collection[int]:
        return self._slots.keys()

    def open(self, segment: ActiveSegment) -> int:
        """Give the segment a free slot. Raises EngineError when no slot is free."""
        slot = next((n for n in range(self._runner.n_slots) if n not in self._slots), None)
        if slot is None:
            raise EngineError(f"all {self._runner.n_slots} slots are taken", "wait for one, or load with more")
        segment.slot, segment.opened_at = slot, self._clock()
        self._slots[slot] = segment
        segment.end_at_limit()
        self._waiting.insert(0 if len(segment.resumed) else len(self._waiting), segment)
        return slot

    @torch.inference_mode()
    def extend(self, slot: int, text: str, is_end: bool, max_frames: int) -> None:
        """Append text to a slot's open segment; harmless when the slot is free. Raises PromptError."""
        if (segment := self._slots.get(slot)) is not None:
            segment.extend(text, is_end, max_frames, self._clock())
            if segment in self._rows:
                self._runner.arena.set_earliest_end(slot, segment)

    def wait_s(self, paused: Collection[int] = ()) -> float:
        """0 while a slot that is not paused has something to do, else inf: a held one waits for text."""
        ready = {segment.slot for segment in self._waiting if segment.prefill.is_ready}
        launched = {segment.slot for step in self._launched for segment in step.segments}
        under_way = ready | launched | self._codec.slots
        busy = (
            not segment.is_held or segment.finish or segment.pending or slot in under_way
            for slot, segment in self._slots.items()
            if slot not in paused
        )
        return 0.0 if any(busy) else inf

    def cancel(self, slot: int) -> None:
        """End a slot's segment with the next step; harmless when the slot is free."""
        if (segment := self._slots.get(slot)) is not None:
            segment.finish = Finish.CANCELLED
            segment.pending.clear()

    def drop(self, slot: int) -> None:
        """Free a slot at once; nothing more is emitted for it."""
        self.cancel(slot)
        self._slots.pop(slot, None)
        self._waiting = deque(segment for segment in self._waiting if segment.slot != slot)

    @torch.inference_mode()
    def step(self, paused: Collection[int] = ()) -> list[Frames]:
        """Advance every open slot that is not paused; returns the emitted frames, the most urgent first."""
        began, n_waiting = self._clock(), len(self._waiting)
        self._rows = [segment for segment in self._rows if segment.finish is None]
        self._admit(paused)
        stepping = self._stepping(paused)
        self._launch(stepping)
        emitted = self._emitted(self._codec.take(may_wait=True, is_idle=not self._launched))
        self._land(self._runner.lag if stepping else 0)
        self._decode(paused)
        emitted += self._emitted(self._codec.take(may_wait=False))
        emitted = self._with_ends(emitted)
        if stepping and len(self._waiting) == n_waiting:
            self._measured.stepped(len(stepping), self._clock() - began)
        return emitted

    # Admit: first audio first.

    def _admit(self, paused: Collection[int]) -> None:
        ready = [segment for segment in self._waiting if segment.finish or segment.prefill.is_ready]
        if not ready:
            return
        now = self._clock()
        newcomers = [
            Newcomer(
                n_tokens=segment.prefill.n_positions,
                waited_s=now - segment.opened_at,
                is_resumed=len(segment.resumed) > 0,
                has_ended=segment.finish is not None,
            )
            for segment in ready
        ]
        playing = [segment for segment in self._rows if segment.slot not in paused]
        leads = [segment.lead_s(now) for segment in playing if not segment.is_held]
        n_running = sum(segment.can_step for segment in playing)
        for segment in (admitted := ready[: self._policy.n_admitted(newcomers, leads, n_running, self._times)]):
            self._waiting.remove(segment)
            if segment.finish is not Finish.CANCELLED:
                self._restore_codec(segment)
        self._prefill([segment for segment in admitted if segment.finish is None])

    def _prefill(self, admitted: list[ActiveSegment]) -> None:
        if not admitted:
            return
        began = self._clock()
        n_computed = self._runner.begin(admitted)
        self._rows += admitted
        if n_computed:
            self._measured.prefilled(n_computed, self._clock() - began)

    def _restore_codec(self, segment: ActiveSegment) -> None:
        """Put the codec where the resumed frames leave it, or queue them to be decoded and emitted again."""
        self._runner.codec.reset(segment.slot, segment.state)
        if segment.emits_resumed:
            segment.replay()
            return
        rest = segment.resumed
        while len(rest):
            n = next(size for size in reversed(self._schedule.sizes) if size <= len(rest))
            self._runner.codec.decode([segment.slot], rest[None, :n])
            rest = rest[n:]

    # Launch.

    def _stepping(self, paused: Collection[int]) -> list[ActiveSegment]:
        now = self._clock()
        able = [segment for segment in self._rows if segment.slot not in paused and segment.can_step]
        return [able[n] for n in self._policy.stepping([segment.lead_s(now) for segment in able], self._times)]

    def _launch(self, stepping: list[ActiveSegment]) -> None:
        if not stepping:
            return
        for segment in stepping:
            if segment.text_changes:
                self._runner.arena.text[segment.slot].copy_(segment.text)
        margins = any(segment.wants_margins for segment in stepping)
        rows, lengths = [segment.slot for segment in stepping], [segment.position + 1 for segment in stepping]
        self._launched.append(_Step(stepping, *self._runner.frame(rows, lengths, margins)))
        for segment in stepping:
            segment.n_launched += 1

    # Land: the host reads the codes of launched steps.

    def _land(self, n_unread: int) -> None:
        """Read the codes of all launched steps but the last n."""
        while len(self._launched) > n_unread:
            step = self._launched.popleft()
            codes = step.codes.wait().astype(np.uint16)
            margins = None if step.margins is None else step.margins.wait()
            for n, segment in enumerate(step.segments):
                if segment.finish is None:
                    segment.land(codes[n], None if margins is None else margins[n], self._runner.eos)

    # Decode and emit.

    def _decode(self, paused: Collection[int]) -> None:
        now = self._clock()
        idle = {segment.slot for segment in self._waiting}.union(paused)
        backlogs = [segment.backlog(now) for segment in self._slots.values() if segment.slot not in idle]
        for group in self._schedule.plan(backlogs):
            self._codec.launch([self._slots[slot] for slot in group.slots], group.n_frames)

    def _emitted(self, calls: Sequence[CodecCall]) -> list[Frames]:
        return [
            segment.frames(codes, pcm, self._clock())
            for call in calls
            for segment, codes, pcm in zip(call.segments, call.codes, call.pcm.wait(), strict=True)
            if segment.finish is not Finish.CANCELLED
        ]

    def _with_ends(self, emitted: list[Frames]) -> list[Frames]:
        """The same frames, the last of each ended segment with its finish; their slots are free afterwards."""
        waiting = {segment.slot for segment in self._waiting if segment.finish is not Finish.CANCELLED}
        in_codec = self._codec.slots
        for segment in list(self._slots.values()):
            if segment.finish is None or segment.pending or segment.slot in in_codec or segment.slot in waiting:
                continue
            del self._slots[segment.slot]
            last = next((n for n in reversed(range(len(emitted))) if emitted[n].slot == segment.slot), None)
            if last is None:
                emitted.append(Frames(segment.slot, segment.n_emitted, SILENCE, NO_CODES, segment.finish))
            else:
                emitted[last] = replace(emitted[last], finish=segment.finish)
        return emitted
