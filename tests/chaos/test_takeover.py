from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.chaos import takeover
from tests.chaos.killing import AT_RANDOM, LAST_SEGMENT, Kill, goes_on
from tests.chaos.recorder import Heard
from tests.chaos.scene import Cast
from tests.chaos.stage import Stage
from tests.chaos.takeover import Outcome, TakeOver, bound_ms_of, measure, measure_all, too_much
from tests.chaos.timed import Timed, TimedChunk

BUSY_MACHINE_MS = 5000
CAST = Cast(engine="preview", n_workers=3, n_sessions=3, depth=1, seed=5, lease_ms=2000, pace=2.0)
KILL = Kill(LAST_SEGMENT, at_s=10.0, at_ms=5000, held=(("s", "7-0"),))


def _utterance(*chunks: tuple[float, int, float], is_whole: bool = True) -> Timed:
    """Chunks that came at a time, of an epoch, with so many seconds of audio."""
    made = [TimedChunk(at_s, epoch_ms, round(audio_s * 8000), 2, is_final=False) for at_s, epoch_ms, audio_s in chunks]
    if is_whole:
        made.append(TimedChunk(chunks[-1][0], chunks[-1][1], 0, 2, is_final=True))
    return Timed("s", "7-0", rate_hz=8000, chunks=made)


def test_a_take_over_lasts_from_the_kill_to_the_first_chunk_that_another_worker_wrote() -> None:
    last_words = (10.01, 5000, 1.0)
    utterance = _utterance((9.0, 4000, 1.5), last_words, (11.5, 5001, 1.0))
    assert measure(KILL, utterance) == TakeOver("s", "7-0", LAST_SEGMENT, 2, 1500.0, 500.0, 0.0)


def test_a_listener_with_less_ahead_than_the_take_over_lasts_hears_the_difference() -> None:
    utterance = _utterance((9.0, 4000, 1.5), (12.0, 5001, 1.0), (20.0, 6001, 1.0))
    [first, second] = measure_all([KILL, Kill(AT_RANDOM, 14.0, 6000, KILL.held)], {"7-0": utterance})
    assert (first.took_ms, first.ahead_ms, first.silent_ms) == (2000.0, 500.0, 1500.0 + 1000.0)
    assert (second.took_ms, second.ahead_ms, second.silent_ms) == (6000.0, 0.0, 6000.0)


@pytest.mark.parametrize(
    "utterance",
    [_utterance((9.0, 4000, 1.0)), _utterance((9.0, 4000, 1.0), is_whole=False)],
    ids=["spoken whole", "left alone"],
)
def test_where_no_other_worker_had_a_chunk_to_write_nothing_is_measured(utterance: Timed) -> None:
    assert measure_all([KILL], {"7-0": utterance}) == []
    assert measure_all([KILL], {}) == []


def test_a_take_over_above_its_bound_is_too_much_and_so_is_silence_with_a_lease_of_audio_ahead() -> None:
    assert bound_ms_of(2000) == 3500
    fine = TakeOver("s", "1-0", AT_RANDOM, 0, took_ms=3500.0, ahead_ms=1999.0, silent_ms=1501.0)
    slow = TakeOver("s", "2-0", AT_RANDOM, 0, took_ms=3501.0, ahead_ms=4000.0, silent_ms=0.0)
    heard = TakeOver("s", "3-0", AT_RANDOM, 0, took_ms=2100.0, ahead_ms=2000.0, silent_ms=100.0)
    found = too_much([fine, slow, heard], 2000)
    assert ["3-0" in what or "2-0" in what for what in found] == [True, True]
    assert "the bound is 3500" in found[0]
    assert "2000 ms lay ahead" in found[1]


def test_it_goes_on_once_another_workers_chunk_or_the_end_is_heard() -> None:
    stage = Stage()
    stage.publish("a", "b")
    stage.begin("a")
    stage.audio("a", 0, 0)
    stage.begin("a", attempt=2)
    stage.audio("a", 0, 2)
    stage.complete("a")
    stage.begin("b")
    heard: list[Heard] = [(stream_id, raw, 0.0) for stream_id, raw in stage.entries.values()]
    assert [goes_on(heard[:n], "1-0", at_ms=1010) for n in range(len(heard) + 1)] == [False] * 5 + [True] * 3
    assert goes_on(heard, "1-0", at_ms=9999)
    assert not goes_on(heard, "2-0", at_ms=1010)


def _check(outcome: Outcome, n_kills: int) -> None:
    assert len(outcome.kills) == n_kills
    assert outcome.wrong == []
    assert outcome.take_overs
    assert max(one.took_ms for one in outcome.take_overs) < bound_ms_of(outcome.cast.lease_ms) + BUSY_MACHINE_MS


@pytest.mark.slow
def test_utterances_of_killed_workers_go_on_at_the_next_sample(tmp_path: Path) -> None:
    cast = Cast(engine="preview", n_workers=2, n_sessions=3, depth=1, seed=4, lease_ms=1000, pace=4.0)
    _check(takeover.run(cast, 2, tmp_path), 2)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("qwen_tts") is None, reason="qwen-tts is not installed: makima-tts[qwen]")
def test_utterances_of_the_speech_model_do_so_too(tmp_path: Path) -> None:
    cast = Cast(engine="qwen", n_workers=2, n_sessions=1, depth=1, seed=4, lease_ms=2000, pace=1.0)
    _check(takeover.run(cast, 1, tmp_path), 1)
