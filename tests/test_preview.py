"""The preview engine: whole frames, the same every time, at the pace asked for, each slot by itself."""

from __future__ import annotations

import itertools
import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soxr
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.processes import children_of, is_running, n_descriptors, resident_kb, until
from worker.engine.base import (
    FRAME_SAMPLES,
    Engine,
    EngineClosed,
    EngineError,
    Finish,
    Frames,
    Resume,
    Segment,
    VoiceUnavailable,
)
from worker.engine.preview.engine import MAX_STEP_FRAMES, FrameCutter, PreviewEngine
from worker.engine.preview.voices import spoken_language
from worker.voices.card import LANGUAGES, Card, Preview

TEXT = "Hello there, I am Makima, and this is a sentence of some length."
LONG = "The quick brown fox jumps over the lazy dog, and nobody is surprised. " * 40


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def card(languages: tuple[str, ...] = ("English",), preview: Preview | None = None) -> Card:
    return Card(
        name="someone",
        languages=languages,
        licence="CC0",
        consent="synthetic",
        folder=Path("voices/someone"),
        preview=preview or Preview(),
    )


def segment(
    text: str = TEXT,
    language: str = "English",
    voice: Card | None = None,
    max_frames: int = 10_000,
    resume: Resume | None = None,
) -> Segment:
    return Segment(text, language, voice or card(), seed=1, max_frames=max_frames, resume=resume)


Make = Callable[..., PreviewEngine]


@pytest.fixture
def make() -> Iterator[Make]:
    engines: list[PreviewEngine] = []

    def start(n_slots: int = 4, **options: object) -> PreviewEngine:
        engines.append(PreviewEngine(n_slots, **options))  # type: ignore[arg-type]
        return engines[-1]

    yield start
    for engine in engines:
        engine.close()


class Told:
    """What an engine reported of one slot, checked for gaps."""

    def __init__(self) -> None:
        self.pcm: list[NDArray[np.float32]] = []
        self.n_frames = 0
        self.finish: Finish | None = None
        self.error: EngineError | None = None

    def hear(self, frames: Frames) -> None:
        assert not self.ended
        assert frames.first_frame == self.n_frames
        assert frames.pcm.dtype == np.float32
        assert len(frames.pcm) % FRAME_SAMPLES == 0
        assert frames.codes.shape == (0, 16)
        self.pcm.append(frames.pcm)
        self.n_frames += len(frames.pcm) // FRAME_SAMPLES
        self.finish, self.error = frames.finish, frames.error

    @property
    def ended(self) -> bool:
        return self.finish is not None or self.error is not None

    @property
    def audio(self) -> NDArray[np.float32]:
        return np.concatenate([np.zeros(0, np.float32), *self.pcm])


def run(engine: Engine, *slots: int, held: tuple[int, ...] = ()) -> list[Told]:
    """Step until these slots have ended."""
    told = {slot: Told() for slot in slots}
    end_s = time.monotonic() + 30
    while not all(one.ended for one in told.values()):
        assert time.monotonic() < end_s
        for frames in engine.step(held):
            told[frames.slot].hear(frames)
    return list(told.values())


def speak(engine: Engine, one: Segment) -> Told:
    return run(engine, engine.open(one))[0]


def step_until_heard(engine: Engine, n_frames: int) -> int:
    """Step as a reader would at this instant, until this many frames came or nothing more is due."""
    n_heard, end_s = 0, time.monotonic() + 10
    while n_heard < n_frames and time.monotonic() < end_s:
        n_heard += sum(len(frames.pcm) // FRAME_SAMPLES for frames in engine.step())
    n_heard += sum(len(frames.pcm) // FRAME_SAMPLES for frames in engine.step())
    return n_heard


def host_of(engine: PreviewEngine) -> int:
    assert engine.host_pid is not None
    return engine.host_pid


def test_it_says_what_it_is(make: Make) -> None:
    engine: Engine = make(3)
    assert engine.name == "preview-espeak-ng"
    assert engine.n_slots == 3
    assert not engine.has_codes


def test_speech_is_whole_frames_of_audible_samples_in_range(make: Make) -> None:
    told = speak(make(), segment())
    assert told.finish is Finish.STOP
    assert 30 < told.n_frames < 80
    assert 0.1 < float(np.abs(told.audio).max()) <= 1.0


def test_the_first_frame_comes_soon(make: Make) -> None:
    engine = make()
    engine.warm_up([card()])
    began_s = time.perf_counter()
    engine.open(segment())
    while not engine.step():
        pass
    assert time.perf_counter() - began_s < 0.5


def test_many_at_once_sound_like_each_alone_and_like_another_engine(make: Make) -> None:
    texts = [TEXT, "Guten Tag, schöne Straße.", "こんにちは、マキマです。", "Привет, как дела?"]
    languages = ["English", "German", "Japanese", "Russian"]
    segments = [segment(*one) for one in zip(texts, languages, strict=True)]
    first, second = make(4), make(4)
    alone = [speak(first, one) for one in segments]
    together = run(second, *[second.open(one) for one in segments])
    again = [speak(second, one) for one in reversed(segments)][::-1]
    for one, two, three in zip(alone, together, again, strict=True):
        assert one.audio.tobytes() == two.audio.tobytes() == three.audio.tobytes()


def test_neighbours_advance_together(make: Make) -> None:
    engine = make(3)
    slots = {engine.open(segment(LONG)) for _ in range(3)}
    time.sleep(0.5)  # all have samples waiting
    stepped = engine.step()
    assert {frames.slot for frames in stepped} == slots
    assert all(0 < len(frames.pcm) <= MAX_STEP_FRAMES * FRAME_SAMPLES for frames in stepped)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_of_the_contract_is_spoken(make: Make, language: str) -> None:
    assert speak(make(), segment("1, 2, 3.", language)).n_frames > 3


@pytest.mark.parametrize("text", ["", "...", "  \n ", "()", "\0"])
def test_a_text_without_sound_ends_without_frames(make: Make, text: str) -> None:
    told = speak(make(), segment(text))
    assert (told.n_frames, told.finish) == (0, Finish.STOP)


def test_auto_finds_the_language_by_the_script(make: Make) -> None:
    engine = make()
    voice = card(("Japanese", "English"))
    found = speak(engine, segment("Привет, как дела?", "Auto", voice))
    named = speak(engine, segment("Привет, как дела?", "Russian", voice))
    assert found.audio.tobytes() == named.audio.tobytes()


@pytest.mark.parametrize(
    ("text", "preferred", "language"),
    [
        ("こんにちは", (), "Japanese"),
        ("東京タワー", ("Chinese",), "Japanese"),
        ("ｱｲｽ 100 OK", (), "Japanese"),
        ("东京", (), "Chinese"),
        ("東京", ("English", "Japanese", "Chinese"), "Japanese"),
        ("我爱 Python", ("Chinese", "Japanese"), "Chinese"),
        ("안녕하세요", ("Japanese",), "Korean"),
        ("Привет", ("Japanese",), "Russian"),
        ("Grüß Gott", ("Japanese", "German", "English"), "German"),
        ("Hello", ("Japanese", "Korean"), "English"),
        ("Ω", (), "English"),
        ("12:30 …", ("Japanese",), "Japanese"),
        ("", (), "English"),
    ],
)
def test_the_script_and_then_the_card_decide_the_language(text: str, preferred: tuple[str, ...], language: str) -> None:
    assert spoken_language(text, preferred) == language


@given(st.text(), st.lists(st.sampled_from(LANGUAGES), unique=True))
def test_any_text_has_a_language(text: str, preferred: list[str]) -> None:
    assert spoken_language(text, tuple(preferred)) in LANGUAGES


def test_the_card_sets_voice_rate_and_pitch(make: Make) -> None:
    engine = make()
    usual = speak(engine, segment()).audio
    fast = speak(engine, segment(voice=card(preview=Preview(rate_wpm=350)))).audio
    high = speak(engine, segment(voice=card(preview=Preview(pitch=90)))).audio
    other = speak(engine, segment(voice=card(preview=Preview(espeak_voices={"English": "en-us+f3"})))).audio
    assert len(fast) < 0.7 * len(usual)
    assert len({usual.tobytes(), fast.tobytes(), high.tobytes(), other.tobytes()}) == 4


def test_a_voice_espeak_lacks_is_refused_and_takes_no_slot(make: Make) -> None:
    engine = make(1)
    odd = card(("English", "German"), Preview(espeak_voices={"English": "tlh-none"}))
    with pytest.raises(VoiceUnavailable, match="tlh-none"):
        engine.open(segment(voice=odd))
    with pytest.raises(VoiceUnavailable, match="Klingon"):
        engine.open(segment(language="Klingon"))
    assert speak(engine, segment("Guten Tag", "German", odd)).finish is Finish.STOP


def test_a_card_is_refused_when_none_of_its_languages_can_be_spoken(make: Make) -> None:
    engine = make()
    unspeakable = Preview(espeak_voices={"English": "tlh-none"})
    engine.check(card(("English", "German"), unspeakable))
    with pytest.raises(VoiceUnavailable, match="tlh-none"):
        engine.check(card(("English",), unspeakable))


def test_warming_up_leaves_out_what_cannot_be_spoken(make: Make) -> None:
    engine = make(1)
    engine.warm_up([card(preview=Preview(espeak_voices={"English": "tlh-none"})), card(("German",))])
    engine.warm_up([])
    assert engine.wait_s() == math.inf
    assert speak(engine, segment()).finish is Finish.STOP


def test_the_budget_ends_a_segment_with_length(make: Make) -> None:
    engine = make()
    whole = speak(engine, segment())
    cut = speak(engine, segment(max_frames=20))
    assert (cut.n_frames, cut.finish) == (20, Finish.LENGTH)
    assert cut.audio.tobytes() == whole.audio[: 20 * FRAME_SAMPLES].tobytes()


def test_a_text_that_just_fits_its_budget_was_spoken_to_its_end(make: Make) -> None:
    engine = make()
    n_frames = speak(engine, segment()).n_frames
    assert speak(engine, segment(max_frames=n_frames)).finish is Finish.STOP
    assert speak(engine, segment(max_frames=n_frames - 1)).finish is Finish.LENGTH
    assert speak(engine, segment("...", max_frames=0)).finish is Finish.STOP


def test_a_resumed_segment_is_spoken_again_from_its_first_sample(make: Make) -> None:
    first, second = make(), make()
    whole = speak(first, segment())
    resumed = speak(second, segment(resume=Resume(n_frames=17)))
    assert resumed.audio.tobytes() == whole.audio.tobytes()


def test_a_held_slot_stands_still_and_goes_on_where_it_stood(make: Make) -> None:
    engine = make(2)
    whole = speak(engine, segment(LONG)).audio
    held, other = engine.open(segment(LONG)), engine.open(segment(LONG))
    assert run(engine, other, held=(held,))[0].audio.tobytes() == whole.tobytes()
    assert engine.wait_s(held=(held,)) == math.inf
    assert engine.step(held=(held,)) == []
    assert run(engine, held)[0].audio.tobytes() == whole.tobytes()


def test_a_cancelled_slot_is_reported_even_when_held_and_is_free_again(make: Make) -> None:
    engine = make(1)
    slot = engine.open(segment(LONG))
    step_until_heard(engine, 5)
    engine.cancel(slot)
    engine.cancel(slot)
    assert engine.wait_s(held=(slot,)) == 0
    [report] = engine.step(held=(slot,))
    assert (report.slot, report.finish, len(report.pcm)) == (slot, Finish.CANCELLED, 0)
    engine.cancel(slot)
    assert engine.wait_s() == math.inf
    assert speak(engine, segment()).finish is Finish.STOP


def test_no_more_segments_than_slots(make: Make) -> None:
    engine = make(2)
    engine.open(segment())
    engine.open(segment())
    with pytest.raises(EngineError, match="busy"):
        engine.open(segment())


def test_the_pace_holds_frames_back_until_they_are_due(make: Make) -> None:
    clock = Clock()
    engine = make(1, pace=2.0, clock=clock)
    engine.open(segment())
    assert engine.wait_s() == 0
    assert step_until_heard(engine, 1) == 1
    assert engine.wait_s() == pytest.approx(0.04)
    clock.now_s += 0.039
    assert engine.step() == []
    clock.now_s += engine.wait_s()
    assert engine.wait_s() == 0
    assert step_until_heard(engine, 1) == 1
    clock.now_s += 0.4
    assert step_until_heard(engine, 10) == 10


@pytest.mark.parametrize("pace", [0.3, 1.0, 7.7])
def test_sleeping_for_exactly_wait_s_ends_a_segment_on_time(make: Make, pace: float) -> None:
    clock = Clock()
    engine = make(1, pace=pace, clock=clock)
    told, n_sleeps = Told(), 0
    engine.open(segment())
    while not told.ended:
        if wait_s := engine.wait_s():
            clock.now_s += wait_s
            n_sleeps += 1
        for frames in engine.step():
            told.hear(frames)
    assert told.n_frames - 1 <= n_sleeps <= told.n_frames
    assert clock.now_s - 1000.0 == pytest.approx(n_sleeps * 0.08 / pace)


def test_resumed_frames_are_not_paced_and_the_pace_counts_from_there(make: Make) -> None:
    clock = Clock()
    engine = make(1, pace=1.0, clock=clock)
    engine.open(segment(resume=Resume(n_frames=25)))
    assert step_until_heard(engine, 26) == 26
    assert engine.wait_s() == pytest.approx(0.08)


def test_a_paced_segment_sounds_like_an_unpaced_one(make: Make) -> None:
    paced, free = make(1, pace=40.0), make(1)
    began_s = time.monotonic()
    slow = speak(paced, segment())
    assert time.monotonic() - began_s >= (slow.n_frames - 1) * 0.08 / 40.0
    assert slow.audio.tobytes() == speak(free, segment()).audio.tobytes()


def test_waiting_for_samples_does_not_block_long(make: Make) -> None:
    engine = make(1)
    slot = engine.open(segment(LONG))
    step_until_heard(engine, 1)
    children = children_of(host_of(engine))
    for pid in children:
        os.kill(pid, signal.SIGSTOP)
    while engine.step():
        pass
    began_s = time.monotonic()
    assert engine.step() == []
    assert 0.01 < time.monotonic() - began_s < 0.2
    for pid in children:
        os.kill(pid, signal.SIGCONT)
    engine.cancel(slot)


def test_a_killed_child_is_an_error_of_its_slot_alone(make: Make) -> None:
    engine = make(2)
    whole = speak(engine, segment(LONG))
    assert until(lambda: not children_of(host_of(engine)))
    doomed = engine.open(segment(LONG))
    step_until_heard(engine, 1)
    children = children_of(host_of(engine))
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    other = engine.open(segment(LONG))
    told: dict[int, Told] = {other: Told()}
    error = None
    while error is None or not told[other].ended:
        for frames in engine.step():
            if frames.slot == doomed:
                error = error or frames.error
            else:
                told[other].hear(frames)
    assert told[other].audio.tobytes() == whole.audio.tobytes()
    assert engine.open(segment()) == doomed


def test_closing_twice_frees_everything_and_later_calls_are_refused(make: Make) -> None:
    engine = make(2)
    engine.open(segment(LONG))
    host = host_of(engine)
    engine.close()
    engine.close()
    assert engine.host_pid is None
    assert not is_running(host)
    for refused in (lambda: engine.open(segment()), engine.step, lambda: engine.check(card())):
        with pytest.raises(EngineClosed):
            refused()
    assert engine.wait_s() == math.inf


@pytest.mark.slow
def test_hundreds_of_segments_leave_no_memory_descriptor_or_process_behind(make: Make) -> None:
    engine = make(8)

    def speak_many(n: int) -> None:
        for i in range(n):
            slots = [engine.open(segment(f"Number {i}.", LANGUAGES[(i + j) % 10])) for j in range(8)]
            engine.cancel(slots[-1])
            assert {told.finish for told in run(engine, *slots)} == {Finish.STOP, Finish.CANCELLED}

    speak_many(20)
    host, before_fds = host_of(engine), n_descriptors()
    before_kb = resident_kb(host), resident_kb(os.getpid())
    speak_many(50)
    after_kb = resident_kb(host), resident_kb(os.getpid())
    assert host_of(engine) == host
    assert n_descriptors() == before_fds
    assert until(lambda: not children_of(host))
    assert after_kb[0] - before_kb[0] < 500
    assert after_kb[1] - before_kb[1] < 4000


@pytest.mark.parametrize("pace", [0.0, -1.0, math.nan, math.inf])
def test_a_senseless_pace_is_refused(pace: float) -> None:
    with pytest.raises(ValueError, match="pace"):
        PreviewEngine(1, pace=pace)


def test_an_engine_without_slots_is_refused() -> None:
    with pytest.raises(ValueError, match="n_slots"):
        PreviewEngine(0)


@given(
    pcm=st.integers(0, 2**32 - 1).map(
        lambda seed: (
            np.random.default_rng(seed)
            .integers(-32768, 32767, size=seed % 9000, dtype=np.int16, endpoint=True)
            .tobytes()
        )
    ),
    cuts=st.lists(st.integers(0, 18_000), max_size=12),
    taken=st.lists(st.integers(0, 4), max_size=12),
)
def test_frames_never_depend_on_how_the_samples_were_cut(pcm: bytes, cuts: list[int], taken: list[int]) -> None:
    whole = FrameCutter()
    whole.feed(pcm)
    expected = whole.take(1000, is_end=True)
    cutter, frames = FrameCutter(), []
    edges = [0, *sorted(min(cut, len(pcm)) for cut in cuts), len(pcm)]
    for i, (start, end) in enumerate(itertools.pairwise(edges)):
        cutter.feed(pcm[start:end])
        frames.append(cutter.take(taken[i] if i < len(taken) else 1, is_end=False))
    frames.append(cutter.take(1000, is_end=True))
    assert np.concatenate(frames).tobytes() == expected.tobytes()
    assert len(expected) == math.ceil(len(pcm) / 2 / 1764) * FRAME_SAMPLES


def test_frames_are_what_soxr_makes_of_the_whole() -> None:
    pcm = (20_000 * np.sin(np.arange(1764 * 5 + 300) / 20)).astype(np.int16)
    cutter = FrameCutter()
    cutter.feed(pcm.tobytes())
    frames = cutter.take(100, is_end=True)
    reference = soxr.resample(pcm.astype(np.float32) / 32768, 22_050, 24_000, quality="HQ")
    assert len(frames) == 6 * FRAME_SAMPLES
    np.testing.assert_allclose(frames[: len(reference)], reference, atol=1e-5)
    assert not frames[len(reference) + 1 :].any()
