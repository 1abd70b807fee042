from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos import roll
from tests.chaos.roll import noticed
from tests.chaos.scene import Cast
from tests.chaos.timed import Timed


def _utterance(attempts: list[int], arrivals_s: list[float]) -> Timed:
    return Timed("s", "7-0", rate_hz=8000, attempts=attempts, arrivals_s=arrivals_s)


@pytest.mark.parametrize(
    ("utterance", "says"),
    [
        (_utterance([1], [1.0, 3.0, 5.0]), None),
        (_utterance([1, 1], [1.0, 3.0]), None),
        (_utterance([1, 2], [1.0, 3.0]), "its attempts were [1, 2]"),
        (_utterance([1], [1.0, 1.5, 3.625]), "paused for 2125 ms"),
    ],
)
def test_an_attempt_that_counts_and_a_pause_above_the_lease_are_noticed(utterance: Timed, says: str | None) -> None:
    found = noticed([utterance], 2000)
    assert len(found) == (says is not None)
    assert says is None or says in found[0]


@pytest.mark.slow
def test_no_session_notices_that_every_worker_is_replaced_in_mid_word(tmp_path: Path) -> None:
    cast = Cast(
        engine="preview", n_workers=2, n_sessions=6, depth=2, seed=4, lease_ms=4000, pace=4.0, grace_s=0.1
    )  # fmt: skip
    rolled = roll.run(cast, tmp_path)
    assert rolled.violations == []
    assert rolled.n_given_back > 0
