"""The preview engine's pace: frames are due one after another, on a clock that the test sets."""

from __future__ import annotations

import math
import time

import pytest

from tests.previewing import Make, Received, segment, speak, step_until
from worker.engine.base import Resume
from worker.engine.preview.engine import PreviewEngine


class Clock:
    """Seconds that pass only when received to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_the_pace_holds_frames_back_until_they_are_due(make_preview: Make) -> None:
    clock = Clock()
    engine = make_preview(1, pace=2.0, clock=clock)
    engine.open(segment())
    assert engine.wait_s() == 0
    assert step_until(engine, 1) == 1
    assert engine.wait_s() == pytest.approx(0.04)
    clock.now_s += 0.039
    assert engine.step() == []
    clock.now_s += engine.wait_s()
    assert engine.wait_s() == 0
    assert step_until(engine, 1) == 1
    clock.now_s += 0.4
    assert step_until(engine, 10) == 10


@pytest.mark.parametrize("pace", [0.3, 1.0, 7.7])
def test_sleeping_for_exactly_wait_s_ends_a_segment_on_time(make_preview: Make, pace: float) -> None:
    clock = Clock()
    engine = make_preview(1, pace=pace, clock=clock)
    received, n_sleeps = Received(), 0
    engine.open(segment())
    while not received.ended:
        if wait_s := engine.wait_s():
            clock.now_s += wait_s
            n_sleeps += 1
        for frames in engine.step():
            received.add(frames)
    assert received.n_frames - 1 <= n_sleeps <= received.n_frames
    assert clock.now_s - 1000.0 == pytest.approx(n_sleeps * 0.08 / pace)


def test_resumed_frames_are_not_paced_and_the_pace_counts_from_there(make_preview: Make) -> None:
    clock = Clock()
    engine = make_preview(1, pace=1.0, clock=clock)
    engine.open(segment(resume=Resume(n_frames=25)))
    assert step_until(engine, 26) == 26
    assert engine.wait_s() == pytest.approx(0.08)


def test_a_paced_segment_sounds_like_an_unpaced_one(make_preview: Make) -> None:
    paced, free = make_preview(1, pace=40.0), make_preview(1)
    began_s = time.monotonic()
    slow = speak(paced, segment())
    assert time.monotonic() - began_s >= (slow.n_frames - 1) * 0.08 / 40.0
    assert slow.audio.tobytes() == speak(free, segment()).audio.tobytes()


@pytest.mark.parametrize("pace", [0.0, -1.0, math.nan, math.inf])
def test_a_senseless_pace_is_refused(pace: float) -> None:
    with pytest.raises(ValueError, match="pace"):
        PreviewEngine(1, pace=pace)
