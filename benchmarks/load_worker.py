"""One simulated worker: jobs wait in a queue, are claimed, and speak in the slots of the real Batch.

The loop is that of `worker.engine.thread` with the real parking, playbacks and segment streams, on one thread and a
simulated clock. Claims count jobs as `worker.service` does: one with half of its lead in hand needs no slot.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from benchmarks.load_device import N_PROMPT, SimClock, SimRunner
from benchmarks.load_policies import LoadPolicy
from benchmarks.load_times import StepTable
from worker.engine.base import FRAME_S, NO_CODES, Finish, Frames, Segment
from worker.engine.parking import Turnover, next_to_open
from worker.engine.playback import Playback
from worker.engine.qwen.active_segment import ActiveSegment
from worker.engine.qwen.batch import Batch
from worker.engine.qwen.prompt import Prefill
from worker.engine.qwen.sampler import Sampling
from worker.engine.segment_stream import SegmentStream
from worker.voices.card import Card, load_card

MOST_RESTING = 8  # jobs a slot, as in worker.service
QUEUE_S = 0.002  # Redis and the event loop, from a request to its claim and from samples to a listener
AHEAD_S = 15.0  # MAKIMA_TTS_AHEAD_MS
CARD: Card = load_card(Path(__file__).resolve().parent.parent / "voices" / "placeholder")


@dataclass(slots=True, eq=False)
class Listener:
    """A request, and the client that plays its audio as it arrives.

    asked_s, n_frames: of the request. first_s: when the first audio arrived. dry_s: seconds without a sample to play.
    """

    number: int
    asked_s: float
    n_frames: int
    first_s: float = inf
    n_received: int = 0
    dry_s: float = 0.0
    is_expired: bool = False
    has_ended: bool = False
    stream: SegmentStream | None = None

    def receive(self, n_frames: int, now: float) -> None:
        if self.first_s == inf:
            self.first_s = now
        played_s = now - self.first_s - self.dry_s
        self.dry_s += max(0.0, played_s - self.n_received * FRAME_S)
        self.n_received += n_frames


class SimWorker:
    """Speaks the requests. It is the Engine of its own parking: it has slots that can be cancelled."""

    def __init__(
        self, listeners: Sequence[Listener], table: StepTable, n_slots: int, policy: LoadPolicy, ttl_s: float
    ) -> None:
        self.clock = SimClock()
        self.n_slots = n_slots
        self._table, self._policy, self._ttl_s = table, policy, ttl_s
        self.runner = SimRunner(table, self.clock, n_slots, [one.n_frames for one in listeners], policy.has_lanes)
        self._batch = Batch(
            cast(Any, self.runner), policy.schedule, is_live=True, clock=self.clock, policy=policy.batch
        )
        self._coming = deque(listeners)
        self._queue: deque[Listener] = deque()  # jobs in Redis
        self._running: dict[SegmentStream, Listener] = {}
        self._opening: deque[SegmentStream] = deque()
        self._open: dict[int, SegmentStream] = {}
        self._turnover = Turnover()
        self.n_exchanges = 0
        self.emitted: list[tuple[float, int]] = []  # when so many frames reached their listeners

    def run(self) -> None:
        """Until every request has been spoken or has expired."""
        paused: set[int] = set()
        while self._coming or self._queue or self._running:
            self._arrive()
            self._claim()
            self._read()
            self._open_waiting()
            paused = {slot for slot, stream in self._open.items() if stream.must_pause(slot in paused)}
            free_every_s = self._turnover.interval_s(self.clock())
            self._policy.park(cast(Any, self), self._open, list(self._opening), paused, free_every_s)
            if self._open and self.wait_s(paused) <= 0:
                self._hand_on(self._batch.step(paused))
            else:
                self._sleep()

    # Jobs.

    def _arrive(self) -> None:
        while self._coming and self._coming[0].asked_s + QUEUE_S / 2 <= self.clock():
            self._queue.append(self._coming.popleft())
        while self._queue and self.clock() - self._queue[0].asked_s > self._ttl_s:
            self._queue.popleft().is_expired = True

    def _claim(self) -> None:
        while self._queue and self._n_busy() < self.n_slots:
            listener = self._queue.popleft()
            segment = Segment("", "English", CARD, listener.number, listener.n_frames + 1)
            listener.stream = stream = SegmentStream(cast(Any, self), segment, Playback(clock=self.clock))
            self._running[stream] = listener
            self._opening.append(stream)

    def _n_busy(self) -> int:
        resting = sum(one.playback is not None and one.playback.lead_s > AHEAD_S / 2 for one in self._running)
        return len(self._running) - min(resting, MOST_RESTING * self.n_slots)

    def _read(self) -> None:
        """What the hold lets through."""
        for stream in self._running:
            assert stream.playback is not None
            while stream.n_queued and stream.playback.lead_s + FRAME_S <= AHEAD_S:
                stream.playback.wrote(FRAME_S)
                stream.n_queued -= 1

    def _sleep(self) -> None:
        """Until a request arrives, or a reader whose listener has enough takes a frame more."""
        due = [self._coming[0].asked_s + QUEUE_S / 2] if self._coming else []
        due += [self.clock() + FRAME_S] if self._running else []
        self.clock.wait_until(min(due, default=self.clock()))

    # Slots.

    def _open_waiting(self) -> None:
        began = self.clock()
        while len(self._open) < self.n_slots and (stream := next_to_open(self._opening)) is not None:
            if self._open and self.clock() - began >= self._policy.open_s:
                return
            self._opening.remove(stream)
            self.clock.now += self._table.begin_s
            stream.slot = self._batch.open(_active(stream.to_open()))
            self._open[stream.slot] = stream

    @torch.inference_mode()
    def _hand_on(self, stepped: list[Frames]) -> None:
        self._turnover.count(stepped, self.clock())
        for frames in stepped:
            stream = self._open[frames.slot]
            if frames.ended:
                del self._open[frames.slot]
            if frames.finish is Finish.CANCELLED:  # parked
                self.n_exchanges += 1
                stream.is_parking = False
                self._opening.append(stream)
            elif (new := stream.new_in(frames)) is not None:
                stream.n_queued += new.n_frames
                self._running[stream].receive(new.n_frames, self.clock() + QUEUE_S / 2)
                self.emitted.append((self.clock(), new.n_frames))
                if new.ended:
                    self._running.pop(stream).has_ended = True

    def wait_s(self, paused: Sequence[int] = ()) -> float:
        return self._batch.wait_s(paused)

    def cancel(self, slot: int) -> None:
        self._batch.cancel(slot)


def _active(segment: Segment) -> ActiveSegment:
    resumed = NO_CODES if segment.resume is None or segment.resume.codes is None else segment.resume.codes
    lead_s = 0.0 if segment.resume is None else segment.resume.lead_s
    return ActiveSegment(
        prefill=Prefill(torch.zeros(N_PROMPT + len(resumed), 1), torch.zeros(0, 1), torch.zeros(1)),
        state={},
        sampling=Sampling(),
        seed=segment.seed,
        max_frames=segment.max_frames,
        resumed=np.asarray(resumed, np.uint16),
        emits_resumed=True,
        resumed_lead_s=lead_s,
    )
