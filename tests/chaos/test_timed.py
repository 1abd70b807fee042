from __future__ import annotations

import random

import pytest

from schemas.jobs import JOB_FIELDS
from tests.chaos.recorder import Heard
from tests.chaos.stage import Stage
from tests.chaos.talk import LONG, TEXTS, draw_job
from tests.chaos.timed import TimedChunk, read_timed
from worker.text import plan


def _taken_over() -> list[Heard]:
    """One utterance with a chunk a second, taken over in its second segment; a cancel of another comes between."""
    stage = Stage()
    stage.publish("a")
    stage.begin("a")
    stage.audio("a", 0, 0)
    stage.cancel("0-1")
    stage.begin("a", attempt=2)
    stage.audio("a", 1, 0)
    stage.audio("a", 1, 2, is_final=True)
    stage.complete("a")
    times = (10.0, 11.0, 11.0, 11.5, 14.0, 14.5, 14.5, 15.5, 15.75)
    return [(stream_id, raw, at) for (stream_id, raw), at in zip(stage.entries.values(), times, strict=True)]


def test_an_utterance_is_read_with_the_times_of_its_entries() -> None:
    [(entry_id, utterance)] = read_timed("s", _taken_over()).items()
    assert (utterance.session_id, utterance.entry_id, utterance.rate_hz) == ("s", entry_id, 24000)
    assert utterance.attempts == [1, 2]
    assert utterance.chunks == [
        TimedChunk(11.0, 1010, 32, segment=0, is_final=False),
        TimedChunk(14.5, 1030, 32, segment=1, is_final=False),
        TimedChunk(15.5, 1030, 32, segment=1, is_final=True),
    ]


def test_its_longest_pause_counts_begin_and_end_and_no_entry_of_a_client() -> None:
    [utterance] = read_timed("s", _taken_over()).values()
    assert utterance.longest_pause_s == 3.0


@pytest.mark.parametrize(("epoch_ms", "at_s"), [(1009, 11.0), (1010, 14.5), (1029, 14.5), (1030, None)])
def test_the_first_chunk_of_a_newer_epoch_is_found(epoch_ms: int, at_s: float | None) -> None:
    [utterance] = read_timed("s", _taken_over()).values()
    first = utterance.first_of_a_newer_epoch(epoch_ms)
    assert (first.at_s if first else None) == at_s
    assert utterance.was_spoken_whole(epoch_ms) == (epoch_ms >= 1030)


def test_a_listener_plays_it_at_its_rate() -> None:
    [utterance] = read_timed("s", _taken_over()).values()
    assert utterance.played().ends_at_s == pytest.approx(15.5 + 96 / 24000)


def test_half_of_what_is_talked_has_three_segments_and_every_sentence_is_one() -> None:
    n_segments = sorted(len(plan(text, "English", {})) for text in TEXTS)
    assert n_segments == [1, 2, LONG, LONG]


def test_the_same_seed_draws_the_same_jobs_in_every_encoding_and_rate() -> None:
    jobs = [[draw_job(draw, "s", n) for n in range(200)] for draw in (random.Random(1), random.Random(1))]
    assert jobs[0] == jobs[1]
    assert {job["job_id"] for job in jobs[0]} == {f"s-{n}" for n in range(200)}
    assert len({(job["encoding"], job["sample_rate"]) for job in jobs[0]}) == 24
    assert set(jobs[0][0]) < set(JOB_FIELDS)
