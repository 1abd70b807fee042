"""When an utterance may write its next chunk."""

from __future__ import annotations

from math import inf
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.test_parking_choice import Hand
from worker.engine.playback import Playback
from worker.utterance.hold import CHUNK_S, Hold, playback_of


class Waiting:
    """Sets the clock on by what it is told to wait, in parts."""

    def __init__(self, clock: Hand) -> None:
        self.clock = clock
        self.n_waits = 0

    async def __call__(self, seconds: float) -> None:
        self.n_waits += 1
        self.clock.now += max(seconds / 2, 0.001)


@pytest.mark.parametrize("limit_ms", [3000, 15_000, 600_000])
async def test_a_chunk_is_due_as_soon_as_the_lead_stays_within_the_limit_with_it(limit_ms: int) -> None:
    clock = Hand()
    playback, waiting = Playback(clock=clock), Waiting(clock)
    hold = Hold(playback, limit_ms, waiting)
    n_chunks = round(limit_ms / 1000 / CHUNK_S) + 10
    for _ in range(n_chunks):
        await hold.until_due(CHUNK_S)
        playback.wrote(CHUNK_S)
        assert playback.lead_s <= limit_ms / 1000 + 1e-9
    assert playback.lead_s > limit_ms / 1000 - 0.01
    assert clock.now == pytest.approx(n_chunks * CHUNK_S - limit_ms / 1000, abs=0.01)
    assert hold.is_far_ahead


async def test_without_a_limit_nothing_waits_and_nothing_counts_as_far_ahead() -> None:
    clock = Hand()
    playback, waiting = Playback(clock=clock), Waiting(clock)
    hold = Hold(playback, 0, waiting)
    playback.wrote(1e6)
    await hold.until_due(CHUNK_S)
    assert (waiting.n_waits, hold.is_far_ahead, hold.most_s) == (0, False, inf)


async def test_a_hold_that_is_lifted_lets_go() -> None:
    clock = Hand()
    playback, waiting = Playback(clock=clock), Waiting(clock)
    playback.wrote(100.0)
    await Hold(playback, 3000, waiting, lambda: waiting.n_waits == 2).until_due(CHUNK_S)
    assert playback.lead_s > 3.0


def playback_after(delivered_s: float, began_ms: int | None, begun_ms: int, limit_ms: int) -> Playback:
    progress = SimpleNamespace(began_ms=began_ms)
    writer = SimpleNamespace(progress=progress, delivered=round(delivered_s * 8000))
    return playback_of(cast(Any, writer), 8000, begun_ms, limit_ms)


@pytest.mark.parametrize(
    ("delivered_s", "gone_s", "limit_ms", "lead_s"),
    [
        (10, 4, 15_000, 6),
        (1, 4, 15_000, -3),
        (10, -60, 3000, 3 - CHUNK_S),
        (100, 4, 15_000, 15 - CHUNK_S),
        (9, 1, 0, 8),
    ],
    ids=["ahead", "dry", "an epoch ahead of the clock", "without a limit before", "without a limit now"],
)
def test_a_take_over_goes_on_from_what_the_stream_has(
    delivered_s: float, gone_s: float, limit_ms: int, lead_s: float
) -> None:
    playback = playback_after(delivered_s, 100_000, 100_000 + round(gone_s * 1000), limit_ms)
    assert playback.lead_s == pytest.approx(lead_s, abs=0.5)
    assert playback.standing_s == -inf


def test_a_first_attempt_begins_without_a_lead() -> None:
    playback = playback_after(0, None, 100_000, 15_000)
    assert playback.lead_s == pytest.approx(0, abs=0.5)
    assert playback.standing_s > -inf
