"""The policy of the running batch, from plain data: who begins in a step, and which rows take part in it."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import pytest

from worker.engine.base import FRAME_S
from worker.engine.qwen.admission import (
    COMPANY,
    FAR_S,
    N_TIMES,
    PATIENCE_S,
    PREFILL_S,
    STEPS_TO_SOUND,
    BatchPolicy,
    MeasuredTimes,
    Newcomer,
)

LIVE, UNHEARD = BatchPolicy(is_live=True), BatchPolicy(is_live=False)
N_TOKENS = 100


@dataclass(frozen=True)
class Fixed:
    """Times that are known: of a step, of each of its rows, and of a prefill's position."""

    step_s: float = 0.01
    row_s: float = 0.0
    token_s: float = 0.00001

    def frame_s(self, n_rows: int) -> float:
        return self.step_s + n_rows * self.row_s

    def prefill_s(self, n_tokens: int) -> float:
        return n_tokens * self.token_s


def many(n: int, waited_s: float = 0.0) -> list[Newcomer]:
    return [Newcomer(N_TOKENS, waited_s)] * n


@pytest.mark.parametrize("lead_s", [0.0205, 0.025, 0.03, 0.5])
def test_so_many_begin_together_as_no_speaking_listener_runs_dry_by(lead_s: float) -> None:
    times = Fixed()
    n = LIVE.n_admitted(many(56), [3.0, lead_s, 9.0], 3, times)

    def until_sound_s(n_begun: int) -> float:
        return STEPS_TO_SOUND * times.frame_s(3) + times.prefill_s(n_begun * N_TOKENS)

    assert n == 0 or until_sound_s(n) < lead_s
    assert until_sound_s(n + 1) >= lead_s or times.prefill_s((n + 1) * N_TOKENS) > PREFILL_S


@pytest.mark.parametrize("leads", [[], [inf], [60.0]])
def test_a_burst_begins_in_parts_so_that_its_first_sound_before_its_last(leads: list[float]) -> None:
    times = Fixed()
    n = LIVE.n_admitted(many(56), leads, len(leads), times)
    assert 1 < n < 56
    assert times.prefill_s(n * N_TOKENS) == pytest.approx(PREFILL_S, rel=0.1)


def test_one_alone_begins_however_long_its_prefill_is() -> None:
    assert LIVE.n_admitted(many(3), [9.0], 1, Fixed(token_s=0.01)) == 1


def test_a_newcomer_waits_for_a_listener_who_would_run_dry_but_not_for_long_nor_for_one_who_has() -> None:
    times = Fixed()
    soon = 1.5 * times.frame_s(1)
    assert LIVE.n_admitted(many(1), [soon], 1, times) == 0
    assert LIVE.n_admitted(many(1, waited_s=PATIENCE_S), [soon], 1, times) == 1
    assert LIVE.n_admitted(many(1), [-0.5], 1, times) == 1
    assert LIVE.n_admitted([Newcomer(N_TOKENS, 0.0, is_resumed=True)], [soon], 1, times) == 1
    assert UNHEARD.n_admitted(many(1), [soon], 1, times) == 1


def test_nobody_waits_and_nobody_begins() -> None:
    assert LIVE.n_admitted([], [1.0], 1, Fixed()) == 0


def test_a_batch_nobody_listens_to_lets_everybody_in() -> None:
    assert UNHEARD.n_admitted(many(9), [0.0], 5, Fixed(step_s=1.0)) == 9


def test_while_steps_take_longer_than_a_frame_new_ones_wait_and_resumed_ones_begin() -> None:
    slow = Fixed(step_s=FRAME_S * 1.1)
    assert LIVE.n_admitted(many(2), [5.0] * COMPANY, COMPANY, slow) == 0
    assert LIVE.n_admitted([Newcomer(N_TOKENS, is_resumed=True)], [5.0] * COMPANY, COMPANY, slow) == 1
    assert LIVE.n_admitted(many(1), [5.0], COMPANY - 1, slow) == 1


def test_one_that_has_ended_leaves_whatever_a_step_takes() -> None:
    slow = Fixed(step_s=FRAME_S * 1.1)
    assert LIVE.n_admitted([Newcomer(N_TOKENS, has_ended=True), Newcomer(N_TOKENS)], [5.0] * 4, 4, slow) == 1


def test_all_rows_step_while_a_step_is_shorter_than_a_frame() -> None:
    fast = Fixed(step_s=FRAME_S / 10)
    assert LIVE.stepping([0.1, 20.0, inf, -3.0], fast) == [0, 1, 2, 3]
    assert LIVE.stepping([], fast) == []


def test_while_a_step_is_longer_than_a_frame_the_furthest_ahead_sit_out_as_many_as_it_takes() -> None:
    slow = Fixed(step_s=FRAME_S / 2, row_s=FRAME_S / 5)  # two rows fit a frame's time
    assert LIVE.stepping([FAR_S * 3, 0.1, FAR_S * 2, inf], slow) == [1, 3]
    assert LIVE.stepping([FAR_S * 3, 0.1, FAR_S / 2, inf], slow) == [1, 2, 3], "nobody sits out who needs the step"
    assert LIVE.stepping([FAR_S * 3, FAR_S * 2], Fixed(step_s=9.0)) == [1], "one always steps"
    assert UNHEARD.stepping([FAR_S * 3, 0.1, FAR_S * 2, inf], slow) == [0, 1, 2, 3]


def test_times_are_learned_from_the_last_ones_and_outliers_do_not_count() -> None:
    times = MeasuredTimes()
    assert (times.frame_s(3), times.prefill_s(50)) == (0.0, 0.0)
    for _ in range(N_TIMES):
        times.stepped(3, 5.0)
        times.prefilled(10, 5.0)
    for n in range(N_TIMES):
        times.stepped(3, 0.5 if n else 9.0)
        times.prefilled(10, 0.2 if n else 9.0)
    assert times.frame_s(3) == 0.5
    assert times.prefill_s(50) == pytest.approx(1.0)


def test_a_number_of_rows_that_has_not_stepped_takes_the_time_of_the_next_larger_one() -> None:
    times = MeasuredTimes()
    times.stepped(2, 0.02)
    times.stepped(5, 0.05)
    assert [times.frame_s(n) for n in (1, 2, 3, 5, 9)] == [0.02, 0.02, 0.05, 0.05, 0.05]
