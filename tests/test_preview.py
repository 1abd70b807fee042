"""The preview engine: whole frames, the same every time, each slot by itself, nothing left behind."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np
import pytest

from tests.previewing import (
    LONG,
    TEXT,
    Make,
    Received,
    card,
    processes_of,
    run,
    segment,
    speak,
    step_until,
    the_process,
)
from tests.processes import is_running, is_stopped, n_descriptors, resident_kb, until
from worker.engine.base import FRAME_SAMPLES, Engine, EngineClosed, EngineError, Finish, Frames, Resume
from worker.engine.preview.engine import MAX_STEP_FRAMES, PreviewEngine
from worker.engine.preview.espeak import Espeak
from worker.voices.card import LANGUAGES


@pytest.fixture(params=["espeak-ng", "natural"])
def voices(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make_preview(voices: str, request: pytest.FixtureRequest) -> Iterator[Make]:
    """Makes preview engines of either kind and closes them."""
    with ExitStack() as stack:

        def make(n_slots: int = 4, **options: object) -> PreviewEngine:
            synthesiser = Espeak() if voices == "espeak-ng" else request.getfixturevalue("natural")
            engine = PreviewEngine(n_slots, **{"synthesiser": synthesiser, **options})  # type: ignore[arg-type]
            stack.callback(engine.close)
            return engine

        yield make


def test_it_reports_its_name_slots_and_codes(make_preview: Make, voices: str) -> None:
    engine: Engine = make_preview(3)
    assert engine.name == f"preview-{voices}"
    assert engine.n_slots == 3
    assert not engine.has_codes


def test_speech_is_whole_frames_of_audible_samples_in_range(make_preview: Make) -> None:
    received = speak(make_preview(), segment())
    assert received.finish is Finish.STOP
    assert 30 < received.n_frames < 80
    assert 0.1 < float(np.abs(received.audio).max()) <= 1.0


def test_the_first_frame_comes_soon(make_preview: Make) -> None:
    engine = make_preview()
    engine.warm_up([card()])

    def took_s() -> float:
        began_s = time.perf_counter()
        slot = engine.open(segment())
        while not engine.step():
            pass
        took_s = time.perf_counter() - began_s
        engine.cancel(slot)
        return took_s

    assert min(took_s() for _ in range(20)) < 0.5


def test_many_at_once_sound_like_each_alone_and_like_another_engine(make_preview: Make) -> None:
    texts = [TEXT, "Guten Tag, schöne Straße.", "こんにちは、マキマです。", "Привет, как дела?"]
    languages = ["English", "German", "Japanese", "Russian"]
    segments = [segment(*one) for one in zip(texts, languages, strict=True)]
    first, second = make_preview(4), make_preview(4)
    alone = [speak(first, one) for one in segments]
    together = run(second, *[second.open(one) for one in segments])
    again = [speak(second, one) for one in reversed(segments)][::-1]
    for one, two, three in zip(alone, together, again, strict=True):
        assert one.audio.tobytes() == two.audio.tobytes() == three.audio.tobytes()


def test_neighbours_advance_together(make_preview: Make) -> None:
    engine = make_preview(3)
    slots = {engine.open(segment(LONG)) for _ in range(3)}
    stepped: list[Frames] = []
    for until_all_have_samples_s in (0.25, 0.5, 1, 2, 4, 8):
        time.sleep(until_all_have_samples_s)
        stepped = engine.step()
        assert all(0 < len(frames.pcm) <= MAX_STEP_FRAMES * FRAME_SAMPLES for frames in stepped)
        if len(stepped) == len(slots):
            break
    assert {frames.slot for frames in stepped} == slots


@pytest.mark.parametrize("text", ["", "...", "  \n ", "()", "\0"])
def test_a_text_without_sound_ends_without_frames(make_preview: Make, text: str) -> None:
    received = speak(make_preview(), segment(text))
    assert (received.n_frames, received.finish) == (0, Finish.STOP)


def test_the_budget_ends_a_segment_with_length(make_preview: Make) -> None:
    engine = make_preview()
    whole = speak(engine, segment())
    cut = speak(engine, segment(max_frames=20))
    assert (cut.n_frames, cut.finish) == (20, Finish.LENGTH)
    assert cut.audio.tobytes() == whole.audio[: 20 * FRAME_SAMPLES].tobytes()


def test_a_text_that_just_fits_its_budget_was_spoken_to_its_end(make_preview: Make) -> None:
    engine = make_preview()
    n_frames = speak(engine, segment()).n_frames
    assert speak(engine, segment(max_frames=n_frames)).finish is Finish.STOP
    assert speak(engine, segment(max_frames=n_frames - 1)).finish is Finish.LENGTH
    assert speak(engine, segment("...", max_frames=0)).finish is Finish.STOP


def test_a_resumed_segment_is_spoken_again_from_its_first_sample(make_preview: Make) -> None:
    first, second = make_preview(), make_preview()
    whole = speak(first, segment())
    resumed = speak(second, segment(resume=Resume(n_frames=17)))
    assert resumed.audio.tobytes() == whole.audio.tobytes()


def test_a_held_slot_stands_still_and_goes_on_where_it_stood(make_preview: Make) -> None:
    engine = make_preview(2)
    whole = speak(engine, segment(LONG)).audio
    held, other = engine.open(segment(LONG)), engine.open(segment(LONG))
    assert run(engine, other, held=(held,))[0].audio.tobytes() == whole.tobytes()
    assert engine.wait_s(held=(held,)) == math.inf
    assert engine.step(held=(held,)) == []
    assert run(engine, held)[0].audio.tobytes() == whole.tobytes()


def test_a_cancelled_slot_is_reported_even_when_held_and_is_free_again(make_preview: Make) -> None:
    engine = make_preview(1)
    slot = engine.open(segment(LONG))
    step_until(engine, 5)
    engine.cancel(slot)
    engine.cancel(slot)
    assert engine.wait_s(held=(slot,)) == 0
    [report] = engine.step(held=(slot,))
    assert (report.slot, report.finish, len(report.pcm)) == (slot, Finish.CANCELLED, 0)
    engine.cancel(slot)
    assert engine.wait_s() == math.inf
    assert speak(engine, segment()).finish is Finish.STOP


def test_no_more_segments_than_slots(make_preview: Make) -> None:
    engine = make_preview(2)
    engine.open(segment())
    engine.open(segment())
    with pytest.raises(EngineError, match="busy"):
        engine.open(segment())


def test_waiting_for_samples_does_not_block_long(make_preview: Make) -> None:
    engine, before = make_preview(1), processes_of()
    slot = engine.open(segment(LONG))
    step_until(engine, 1)
    process = the_process(before)
    os.kill(process, signal.SIGSTOP)
    assert until(lambda: is_stopped(process))
    while engine.step():
        pass
    took_s = []
    for _ in range(20):
        began_s = time.monotonic()
        assert engine.step() == []
        took_s.append(time.monotonic() - began_s)
    assert max(took_s) > 0.01
    assert min(took_s) < 0.2
    engine.cancel(slot)


def test_a_killed_process_is_an_error_of_its_slot_alone(make_preview: Make) -> None:
    engine = make_preview(2)
    whole, before = speak(engine, segment(LONG)), processes_of()
    doomed = engine.open(segment(LONG))
    step_until(engine, 1)
    process = the_process(before)
    os.kill(process, signal.SIGKILL)
    other = engine.open(segment(LONG))
    received: dict[int, Received] = {other: Received()}
    error = None
    while error is None or not received[other].ended:
        for frames in engine.step():
            if frames.slot == doomed:
                error = error or frames.error
            else:
                received[other].add(frames)
    assert received[other].audio.tobytes() == whole.audio.tobytes()
    assert engine.open(segment()) == doomed


def test_closing_twice_frees_everything_and_later_calls_are_refused(make_preview: Make) -> None:
    engine, before = make_preview(2), processes_of()
    engine.open(segment(LONG))
    process = the_process(before)
    engine.close()
    engine.close()
    assert until(lambda: not is_running(process))
    for refused in (lambda: engine.open(segment()), engine.step, lambda: engine.check(card())):
        with pytest.raises(EngineClosed):
            refused()
    assert engine.wait_s() == math.inf


@pytest.mark.slow
def test_hundreds_of_segments_leave_no_memory_descriptor_or_process_behind(make_preview: Make, voices: str) -> None:
    engine, n_rounds, others = make_preview(8), 30 if voices == "espeak-ng" else 5, set(processes_of())

    def speak_many(n: int) -> None:
        for i in range(n):
            slots = [engine.open(segment(f"Number {i}.", LANGUAGES[(i + j) % 10])) for j in range(8)]
            engine.cancel(slots[-1])
            assert {received.finish for received in run(engine, *slots)} == {Finish.STOP, Finish.CANCELLED}

    speak_many(n_rounds // 3)
    n_before, before_kb = n_descriptors(), resident_kb(os.getpid())
    speak_many(n_rounds)
    assert n_descriptors() == n_before
    assert until(lambda: set(processes_of()) <= others)
    assert resident_kb(os.getpid()) - before_kb < 4000


def test_an_engine_without_slots_is_refused() -> None:
    with pytest.raises(ValueError, match="n_slots"):
        PreviewEngine(0)
