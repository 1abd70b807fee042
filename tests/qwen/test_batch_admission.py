"""Who may begin in a running batch, and who is decoded first: by a clock that is ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.qwen.traffic import Clock, Pool, Speakers, pool_of
from worker.engine.qwen.batch import Batch
from worker.engine.qwen.chunks import Schedule


@pytest.fixture(scope="module")
def pool(tiny: Path) -> Pool:
    return pool_of(tiny)


def test_first_audio_comes_first(pool: Pool) -> None:
    speakers = Speakers(pool, pool.batch(ramp=(1, 2), live=Clock()))
    early = speakers.open(0)
    speakers.step()
    speakers.step()
    late = speakers.open(2)
    assert [(spoken.slot, len(spoken.codes)) for spoken in speakers.step()] == [(late, 1), (early, 2)]


def test_newcomers_are_begun_together_when_that_costs_less_than_steps(pool: Pool) -> None:
    speakers = Speakers(pool, pool.batch(live=Clock()))
    speakers.open(0)
    speakers.step()
    speakers.step()
    late = {speakers.open(n) for n in (1, 2, 3)}
    assert late <= {spoken.slot for spoken in speakers.step()}


def test_newcomers_are_begun_one_by_one_while_a_listener_could_run_dry(pool: Pool) -> None:
    speakers = Speakers(pool, pool.batch(live=(clock := Clock())))
    speakers.open(0)
    speakers.step()
    speakers.step()
    clock.now += 1.0
    one, other = speakers.open(1), speakers.open(2)
    heard = [{spoken.slot for spoken in speakers.step()} for _ in range(2)]
    assert one in heard[0]
    assert other in heard[1] - heard[0]


def test_while_steps_take_longer_than_a_frame_a_newcomer_waits_for_a_speaker(pool: Pool) -> None:
    speakers = Speakers(pool, pool.batch(live=Clock(0.05)))
    early = {speakers.open(0), speakers.open(1)}
    for _ in range(3):
        speakers.step()
    late = speakers.open(2)
    while early <= speakers.speaking.keys():
        assert {spoken.slot for spoken in speakers.step()} <= early
    assert late in {spoken.slot for _ in range(2) for spoken in speakers.step()}
    speakers.to_the_end()


def test_two_are_spoken_together_on_the_slowest_machine(pool: Pool) -> None:
    speakers = Speakers(pool, pool.batch(live=Clock(0.05)))
    early = speakers.open(0)
    speakers.step()
    speakers.step()
    late = speakers.open(1)
    assert late in {spoken.slot for _ in range(2) for spoken in speakers.step()}
    assert early in speakers.speaking
    speakers.to_the_end()


def test_a_batch_nobody_listens_to_lets_everybody_in(pool: Pool) -> None:
    slow = Batch(pool.runners["plain"], Schedule(), is_live=False, clock=Clock(0.05))
    speakers = Speakers(pool, slow)
    speakers.open(0)
    speakers.step()
    speakers.step()
    late = speakers.open(1)
    assert late in {spoken.slot for spoken in speakers.step()}


def test_a_newcomer_does_not_wait_for_one_that_is_held(pool: Pool) -> None:
    speakers = Speakers(pool, pool.batch(live=Clock(0.05)))
    paused = frozenset({speakers.open(0)})
    for _ in range(3):
        speakers.step()
    late = speakers.open(2)
    for _ in range(30):
        speakers.step(paused)
    assert late not in speakers.speaking
    speakers.to_the_end()


def test_steps_in_which_everybody_is_held_are_not_taken_for_fast_ones(pool: Pool) -> None:
    """A step that gives something looks at the clock three times and more, one that gives nothing twice."""
    speakers = Speakers(pool, pool.batch(ramp=(1,), live=Clock(0.03)))
    early = frozenset({speakers.open(0), speakers.open(1)})
    for _ in range(3):
        speakers.step()
    for _ in range(40):
        assert speakers.step(early) == []
    late = speakers.open(2)
    assert late not in {spoken.slot for spoken in speakers.step()}
    speakers.to_the_end()


@pytest.mark.parametrize("is_paused", [False, True])
def test_a_newcomer_does_not_wait_for_a_paused_listener(pool: Pool, is_paused: bool) -> None:
    """As the probe of an engine that failed, beside which all others are paused."""
    speakers = Speakers(pool, pool.batch(ramp=(1,), live=(clock := Clock(0.005))))
    early = speakers.open(0)
    speakers.step()
    speakers.step()
    clock.now += speakers.speaking[early].segment.lead_s(clock.now) - 0.02  # he would run dry by a prefill
    late = speakers.open(2)
    given = {spoken.slot for spoken in speakers.step(frozenset({early} if is_paused else ()))}
    assert (late in given) is is_paused
    speakers.to_the_end()
