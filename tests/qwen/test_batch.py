"""Slots are opened, paused, cancelled and moved between rows, and each makes the same codes as alone."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from tests.qwen.exact import GREEDY, voices
from tests.qwen.traffic import SLOTS, Padded, Pool, Speakers, pool_of
from worker.engine.qwen import EngineError, Finish, QwenEngine, Sampling, SpeechRequest
from worker.engine.qwen.loader import load


@pytest.fixture(scope="module")
def pool(tiny: Path) -> Pool:
    return pool_of(tiny)


@pytest.mark.parametrize("kind", ["plain", "padded"])
@pytest.mark.parametrize("ramp", [(), (1, 3)])
def test_whatever_happens_around_it_an_utterance_says_what_it_says_alone(
    pool: Pool, kind: str, ramp: tuple[int, ...]
) -> None:
    class Traffic(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.speakers = Speakers(pool, pool.batch(kind, ramp))

        @rule(n=st.integers(0, len(pool.segments) - 1))
        def open(self, n: int) -> None:
            if len(self.speakers.speaking) == SLOTS:
                with pytest.raises(EngineError, match="slots are taken"):
                    self.speakers.open(n)
            else:
                self.speakers.open(n)

        @rule(paused=st.frozensets(st.integers(0, SLOTS - 1), max_size=SLOTS), n_steps=st.integers(1, 3))
        def step(self, paused: frozenset[int], n_steps: int) -> None:
            for _ in range(n_steps):
                self.speakers.step(paused)

        @rule(slot=st.integers(0, SLOTS - 1))
        def cancel(self, slot: int) -> None:
            self.speakers.cancel(slot)

        @rule(slot=st.integers(0, SLOTS - 1))
        def drop(self, slot: int) -> None:
            self.speakers.batch.drop(slot)
            self.speakers.speaking.pop(slot, None)

        def teardown(self) -> None:
            self.speakers.to_the_end()

    run_state_machine_as_test(
        Traffic,
        settings=settings(
            max_examples=12,
            stateful_step_count=20,
            deadline=None,
            derandomize=True,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("kind", ["plain", "padded"])
def test_held_slots_wait_while_neighbours_join_leave_and_move_rows(pool: Pool, kind: str) -> None:
    speakers = Speakers(pool, pool.batch(kind))
    first, second, third = (speakers.open(n) for n in (2, 0, 1))
    for _ in range(3):
        speakers.step()
    given = {slot: heard.n_given for slot, heard in speakers.speaking.items()}
    paused = frozenset({first, second})
    speakers.open(5)
    for n in (4, 5, 4):
        speakers.step(paused)
        if len(speakers.speaking) < SLOTS:
            speakers.open(n)
    speakers.cancel(third)
    while len(speakers.speaking) > 2:
        speakers.step(paused)
    for _ in range(5):
        assert speakers.step(paused) == []
    assert {slot: heard.n_given for slot, heard in speakers.speaking.items()} == {n: given[n] for n in paused}
    speakers.step(frozenset({second}))
    speakers.open(3)
    speakers.step(frozenset({first}))
    speakers.to_the_end()


@pytest.mark.parametrize("sampling", [Sampling(top_k=0, predictor_top_k=0), Sampling(top_k=200, top_p=0.5)])
def test_rows_that_only_fill_up_a_step_may_have_any_sampling(pool: Pool, sampling: Sampling) -> None:
    """A row that is paused draws from more codes than those that step."""
    speakers = Speakers(pool, pool.batch("padded"))
    segment = replace(pool.segments[2], sampling=sampling.resolved(pool.engine.model.generation))
    other = speakers.batch.open(segment)
    speakers.batch.step()
    for n in (1, 0, 1):
        speakers.open(n)
    while speakers.speaking:
        speakers.step(frozenset({other}))
    assert set(speakers.batch.open_slots) == {other}


def test_rows_that_only_fill_up_a_step_end_where_they_end_alone(tiny_ending: Path) -> None:
    """A strong penalty on every code seen would move the end, were the end token taken for seen."""
    engine = QwenEngine.load(str(tiny_ending), device="cpu", dtype="float64", slots=SLOTS)
    voice = voices(engine)[1]
    greedy = replace(GREEDY, repetition_penalty=10.0)
    some = [
        SpeechRequest(text, voice, "en", greedy, 1, max_frames=20) for text in ("One.", "Two", "3", "Four five", "Six")
    ]
    some += [replace(utterance, whole_text=False) for utterance in some]
    alone = engine.synthesize(some)
    ending = [n for n, speech in enumerate(alone) if speech.finish is Finish.STOP and len(speech.codes) > 3]
    assert ending
    padded = Padded(load(str(tiny_ending), device="cpu", dtype="float64"), SLOTS, 2048)
    pool = Pool(engine, {"padded": padded}, [engine.prepare(utterance) for utterance in some], alone)
    for n in ending:
        speakers = Speakers(pool, pool.batch("padded"))
        paused = frozenset({speakers.open(n)})
        speakers.step()
        speakers.step()
        neighbour = speakers.open((n + 1) % len(some))
        while neighbour in speakers.speaking:
            speakers.step(paused)
        while speakers.speaking:
            speakers.step()


def test_the_longest_utterance_that_fits_is_spoken_to_its_last_position(tiny: Path, pool: Pool) -> None:
    voice = voices(pool.engine)[1]
    n_prompt = len(pool.engine.prepare(SpeechRequest("ab", voice, "en", max_frames=1)).prefill.embeds)
    short = QwenEngine.load(str(tiny), device="cpu", dtype="float64", slots=1, max_positions=n_prompt + 9)
    utterance = SpeechRequest("ab", voice, "en", GREEDY, 1, max_frames=9)
    [speech] = short.synthesize([utterance])
    assert np.array_equal(speech.codes, pool.engine.synthesize([utterance])[0].codes)
    assert len(speech.codes) == len(short.synthesize([replace(utterance, max_frames=None)])[0].codes) == 9
    with pytest.raises(EngineError, match="max_positions"):
        short.synthesize([replace(utterance, max_frames=10)])


def test_a_cancelled_slot_that_was_never_begun_ends_with_the_next_step(pool: Pool) -> None:
    speakers = Speakers(pool, pool.batch())
    slots = [speakers.open(n) for n in (0, 1, 6)]
    speakers.cancel(slots[1])
    speakers.cancel(slots[2])
    ended = [spoken for spoken in speakers.step() if spoken.finish is not None]
    assert sorted(spoken.slot for spoken in ended) == slots[1:]
    assert all(spoken.finish is Finish.CANCELLED and not len(spoken.codes) for spoken in ended)
    assert speakers.open(2) == slots[1]
    speakers.to_the_end()


def test_a_dropped_slot_that_was_never_begun_is_free_for_another(pool: Pool) -> None:
    speakers = Speakers(pool, pool.batch())
    slot = speakers.open(0)
    speakers.batch.drop(slot)
    del speakers.speaking[slot]
    assert speakers.batch.wait_s() == inf
    assert speakers.open(2) == slot
    speakers.to_the_end()


def test_the_row_that_fills_up_steps_attends_to_no_more_with_every_step(pool: Pool) -> None:
    runner = pool.runners["padded"]
    speakers = Speakers(pool, pool.batch("padded"))
    for n in (0, 1, 4):
        speakers.open(n)
    speakers.to_the_end()
    assert runner.arena.positions[runner.arena.spare] == 0


def test_resumed_frames_are_given_again_although_nothing_follows_and_others_are_first(pool: Pool) -> None:
    speakers = Speakers(pool, pool.batch())
    for n in (0, 9, 2, 9):
        speakers.open(n)
    speakers.to_the_end()


def test_a_batch_that_was_reset_speaks_as_a_new_one(pool: Pool) -> None:
    speakers = Speakers(pool, pool.batch())
    for n in (0, 1, 2):
        speakers.open(n)
    speakers.step()
    speakers.step(frozenset({0}))
    speakers.batch.reset()
    assert not speakers.batch.open_slots
    speakers.speaking.clear()
    for n in (7, 3, 2, 0, 1):
        speakers.open(n)
    speakers.to_the_end()
