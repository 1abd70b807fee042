"""The policy of the running batch, from plain data: who begins in a step."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import pytest

from worker.engine.base import FRAME_S
from worker.engine.qwen.admission import COMPANY, N_TIMES, BatchPolicy, MeasuredTimes, Newcomer

LIVE = BatchPolicy(is_live=True)
N_TOKENS = 100


@dataclass(frozen=True)
class Fixed:
    """Times that are known: of a step, and of a prefill's position."""

    step_s: float = 0.01
    token_s: float = 0.00002

    def frame_s(self, n_rows: int) -> float:
        return self.step_s

    def prefill_s(self, n_tokens: int) -> float:
        return n_tokens * self.token_s


def many(n: int) -> list[Newcomer]:
    return [Newcomer(N_TOKENS)] * n


@pytest.mark.parametrize("lead_s", [0.02, 0.05, 0.08, 0.5])
def test_so_many_begin_together_as_no_speaking_listener_pays_for(lead_s: float) -> None:
    times = Fixed()
    n = LIVE.n_admitted(many(56), [3.0, lead_s, 9.0], 3, times)
    assert n == 56 or times.frame_s(3) + times.prefill_s(n * N_TOKENS) <= lead_s
    assert n == 56 or times.frame_s(3) + times.prefill_s((n + 1) * N_TOKENS) >= lead_s


def test_nobody_speaks_so_all_begin_together() -> None:
    assert LIVE.n_admitted(many(56), [], 0, Fixed()) == 56
    assert LIVE.n_admitted(many(56), [inf], 1, Fixed()) == 56
    assert LIVE.n_admitted([], [1.0], 1, Fixed()) == 0


def test_a_batch_nobody_listens_to_lets_everybody_in() -> None:
    assert BatchPolicy(is_live=False).n_admitted(many(9), [0.0], 5, Fixed(step_s=1.0)) == 9


def test_while_steps_take_longer_than_a_frame_new_ones_wait_and_resumed_ones_begin() -> None:
    slow = Fixed(step_s=FRAME_S * 1.1)
    assert LIVE.n_admitted(many(2), [5.0] * COMPANY, COMPANY, slow) == 0
    assert LIVE.n_admitted([Newcomer(N_TOKENS, is_resumed=True)], [5.0] * COMPANY, COMPANY, slow) == 1
    assert LIVE.n_admitted(many(1), [5.0], COMPANY - 1, slow) == 1


def test_one_that_has_ended_leaves_whatever_a_step_takes() -> None:
    slow = Fixed(step_s=FRAME_S * 1.1)
    assert LIVE.n_admitted([Newcomer(N_TOKENS, has_ended=True), Newcomer(N_TOKENS)], [5.0] * 4, 4, slow) == 1


def test_times_are_learned_from_the_last_ones_and_outliers_do_not_count() -> None:
    times = MeasuredTimes()
    assert (times.frame_s(3), times.prefill_s(50)) == (0.0, 0.0)
    for _ in range(N_TIMES):
        times.stepped(5.0)
        times.prefilled(10, 5.0)
    for n in range(N_TIMES):
        times.stepped(0.5 if n else 9.0)
        times.prefilled(10, 0.2 if n else 9.0)
    assert times.frame_s(3) == 0.5
    assert times.prefill_s(50) == pytest.approx(1.0)
