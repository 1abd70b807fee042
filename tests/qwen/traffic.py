"""Segments that join and leave a batch, each compared with its codes and samples alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from tests.qwen.exact import FRAME_SAMPLES, GREEDY, SIXTY, sixteen_bits, voices
from worker.engine.base import Frames
from worker.engine.qwen import Finish, QwenEngine, Sampling, SpeechRequest, SpeechResult
from worker.engine.qwen.active_segment import ActiveSegment
from worker.engine.qwen.batch import Batch
from worker.engine.qwen.chunks import Schedule
from worker.engine.qwen.frame import Plan
from worker.engine.qwen.loader import load
from worker.engine.qwen.runner import ModelRunner

SLOTS = 5
N_FRAMES = 7


@dataclass
class Clock:
    """Every look at it takes `tick_s`, so a step takes a few ticks."""

    tick_s: float = 0.0001
    now: float = 0.0

    def __call__(self) -> float:
        self.now += self.tick_s
        return self.now


class Padded(ModelRunner):
    """Every step is filled up with the spare row, as those of a GPU's graphs are; here to all rows."""

    def _plan(self, rows: Sequence[int], margins: bool) -> Plan:
        return replace(super()._plan(rows, margins), n_rows=self.n_slots)


@dataclass(frozen=True)
class Pool:
    """Utterances with the result of each alone. segments: a batch gets copies of them."""

    engine: QwenEngine
    runners: dict[str, ModelRunner]
    segments: list[ActiveSegment]
    alone: list[SpeechResult]

    def batch(self, kind: str = "plain", ramp: Sequence[int] = (), live: Clock | None = None) -> Batch:
        """live: audio is played as it comes, by this clock."""
        schedule = Schedule(tuple(ramp), is_exact=True) if ramp else Schedule()
        return Batch(self.runners[kind], schedule, live is not None, live or Clock())


@dataclass
class Heard:
    """The frames of a slot so far, compared with its result alone."""

    n: int
    segment: ActiveSegment
    alone: SpeechResult
    n_given: int = 0
    is_cancelled: bool = False
    finish: Finish | None = field(default=None)

    def take(self, spoken: Frames) -> None:
        assert self.finish is None
        assert spoken.first_frame == self.n_given
        end = self.n_given + len(spoken.codes)
        assert np.array_equal(spoken.codes, self.alone.codes[self.n_given : end])
        pcm = self.alone.pcm[FRAME_SAMPLES * self.n_given : FRAME_SAMPLES * end]
        assert np.array_equal(sixteen_bits(spoken.pcm), sixteen_bits(pcm))
        self.n_given, self.finish = end, spoken.finish
        if self.finish is Finish.CANCELLED:
            assert self.is_cancelled
        elif self.finish is not None:
            assert self.finish is self.alone.finish
            assert self.n_given == len(self.alone.codes)


class Speakers:
    """A batch and the frames of its slots."""

    def __init__(self, pool: Pool, batch: Batch) -> None:
        self.pool = pool
        self.batch = batch
        self.speaking: dict[int, Heard] = {}

    def open(self, n: int) -> int:
        segment = replace(self.pool.segments[n])
        slot = self.batch.open(segment)
        assert slot not in self.speaking
        self.speaking[slot] = Heard(n, segment, self.pool.alone[n], segment.n_emitted)
        return slot

    def step(self, paused: frozenset[int] = frozenset()) -> list[Frames]:
        given = self.batch.step(paused)
        for spoken in given:
            assert spoken.slot not in paused or not len(spoken.codes)
            self.speaking[spoken.slot].take(spoken)
            if spoken.finish is not None:
                del self.speaking[spoken.slot]
        assert set(self.batch.open_slots) >= set(self.speaking)
        assert not any(heard.is_cancelled for heard in self.speaking.values())
        return given

    def cancel(self, slot: int) -> None:
        self.batch.cancel(slot)
        if slot in self.speaking:
            self.speaking[slot].is_cancelled = True

    def to_the_end(self) -> None:
        """Step to all ends, within a bound that no waiting slot can exceed."""
        n_steps = 0
        while self.speaking:
            self.step()
            n_steps += 1
            assert n_steps <= SLOTS * (N_FRAMES + 3)
        assert not self.batch.open_slots


def pool_of(tiny: Path) -> Pool:
    """Every kind of utterance; some resumed, of which some give again what is resumed."""
    engine = QwenEngine.load(str(tiny), device="cpu", dtype="float64", slots=SLOTS)
    icl, x_vector, japanese = voices(engine)
    narrow = Sampling(temperature=0.7, top_k=5, top_p=0.9, predictor_top_k=3)
    wide = Sampling(temperature=1.5, top_k=0, predictor_top_k=0, repetition_penalty=1.0)
    utterances = [
        SpeechRequest("Hello.", icl, "en", GREEDY, 1, N_FRAMES),
        SpeechRequest("ab", x_vector, "en", narrow, 2, N_FRAMES, whole_text=False),
        SpeechRequest("雨です。", japanese, "ja", wide, 3, N_FRAMES),
        SpeechRequest(SIXTY, x_vector, "auto", replace(GREEDY, repetition_penalty=3.0), 4, N_FRAMES - 2),
        SpeechRequest("One", icl, "en", Sampling(top_p=0.5), 5, 1, whole_text=False),
        SpeechRequest("Two", x_vector, "de", Sampling(), 6, 2),
    ]
    alone = [engine.synthesize([utterance])[0] for utterance in utterances]
    resumed = [
        (n, emits_resumed, replace(utterances[n], resume=alone[n].codes[:k]))
        for n, k, emits_resumed in ((0, 3, False), (1, 4, True), (2, 1, True), (3, N_FRAMES - 2, True), (5, 2, False))
    ]
    model = load(str(tiny), device="cpu", dtype="float64")
    return Pool(
        engine,
        {"plain": engine._runner, "padded": Padded(model, SLOTS, 2048)},
        [engine.prepare(utterance) for utterance in utterances]
        + [engine.prepare(utterance, emits_resumed=emits_resumed) for _, emits_resumed, utterance in resumed],
        alone + [alone[n] for n, _, _ in resumed],
    )
