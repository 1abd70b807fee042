"""How far a relay sends ahead, what a client has played of what was sent, and how long silence is normal."""

from __future__ import annotations

import pytest

from worker.relay.pace import REMEMBERED, Pace, PlayedPart, PlayedTimeline
from worker.relay.silence import limit_s


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_audio_is_sent_up_to_the_limit_and_then_as_it_is_played() -> None:
    clock = Clock()
    pace = Pace(10.0, clock)
    for _ in range(5):
        assert pace.wait_s(2.0) == 0
        pace.sent(2.0)
    assert pace.wait_s(2.0) == pytest.approx(2.0)
    clock.now += 1.5
    assert pace.wait_s(2.0) == pytest.approx(0.5)
    clock.now += 0.5
    assert pace.wait_s(2.0) == pytest.approx(0.0)


def test_a_listener_who_has_run_dry_starts_from_nothing() -> None:
    clock = Clock()
    pace = Pace(3.0, clock)
    pace.sent(1.0)
    clock.now += 60
    pace.sent(3.0)
    assert pace.wait_s(0.5) == pytest.approx(0.5)


def test_a_piece_is_short_enough_that_the_listener_never_runs_dry() -> None:
    clock = Clock()
    pace = Pace(0.5, clock)
    for _ in range(20):
        clock.now += pace.wait_s(pace.piece_s)
        assert pace.wait_s(pace.piece_s) == pytest.approx(0)
        assert pace.wait_s(0.5) <= 0.5
        pace.sent(pace.piece_s)
    assert Pace(0.0, clock).piece_s > 1e9


def test_without_a_limit_nothing_waits_and_after_a_stop_nothing_is_ahead() -> None:
    clock = Clock()
    endless, pace = Pace(0.0, clock), Pace(1.0, clock)
    for one in (endless, pace):
        one.sent(1000.0)
    assert endless.wait_s(1.0) == 0
    assert pace.wait_s(1.0) > 0
    pace.stop()
    assert pace.wait_s(1.0) == 0


def sent_three() -> PlayedTimeline:
    timeline = PlayedTimeline()
    for utterance, n_samples in [(1, 60), (1, 40), (2, 0), (3, 50), (4, 10)]:
        timeline.sent(utterance, f"u{utterance}", n_samples)
    return timeline


@pytest.mark.parametrize(
    ("played", "part"),
    [
        (0, None), (1, (1, 1)), (99, (1, 99)), (100, (1, 100)), (101, (3, 1)), (150, (3, 50)), (151, (4, 1)),
        (160, (4, 10)), (1_000_000, (4, 10)),
    ],
)  # fmt: skip
def test_the_last_utterance_of_which_something_was_played_is_found(played: int, part: tuple[int, int] | None) -> None:
    expected = None if part is None else PlayedPart(part[0], f"u{part[0]}", part[1])
    assert sent_three().stop(played) == expected


def test_after_a_stop_samples_count_from_zero() -> None:
    timeline = sent_three()
    timeline.stop(120)
    assert timeline.stop(120) is None
    timeline.sent(5, "u5", 10)
    assert timeline.stop(4) == PlayedPart(5, "u5", 4)


def test_only_the_last_utterances_are_remembered_at_their_places() -> None:
    timeline = PlayedTimeline()
    for utterance in range(REMEMBERED + 3):
        timeline.sent(utterance, f"u{utterance}", 10)
    assert timeline.stop(30) is None
    for utterance in range(REMEMBERED + 3):
        timeline.sent(utterance, f"u{utterance}", 10)
    assert timeline.stop(31) == PlayedPart(3, "u3", 1)


def test_silence_is_normal_for_as_long_as_the_contract_has_it() -> None:
    assert limit_s(has_begun=False, has_whole_text=True, ttl_ms=30_000, text_wait_s=30) == 45
    assert limit_s(has_begun=False, has_whole_text=False, ttl_ms=500, text_wait_s=300) == 15.5
    assert limit_s(has_begun=True, has_whole_text=True, ttl_ms=300_000, text_wait_s=300) == 45
    assert limit_s(has_begun=True, has_whole_text=False, ttl_ms=500, text_wait_s=10) == 45
    assert limit_s(has_begun=True, has_whole_text=False, ttl_ms=500, text_wait_s=60) == 75
