"""Metrics: every figure of `complete` is counted, and nothing is shared between two workers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from prometheus_client.parser import text_string_to_metric_families

from worker.observe.metrics import Metrics

if TYPE_CHECKING:
    from schemas.messages import Complete

FIGURES = {
    "finish": "stop",
    "samples": 48_000,
    "chunks": 25,
    "audio_ms": 2000,
    "queue_ms": 4,
    "first_audio_ms": 120,
    "leading_silence_ms": 40,
    "rtf": 0.25,
    "voice": "placeholder",
    "model": "preview",
}


def complete(**changes: object) -> Complete:
    return cast("Complete", SimpleNamespace(**(FIGURES | changes)))


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"makima_tts_{name}", labels)


def test_every_figure_of_complete_is_counted() -> None:
    metrics = Metrics()
    metrics.completed(complete())
    metrics.completed(complete(finish="length", audio_ms=1000, samples=24_000, chunks=13))
    assert value(metrics, "utterances_total", outcome="complete") == 2
    assert value(metrics, "finished_total", finish="stop", voice="placeholder", model="preview") == 1
    assert value(metrics, "finished_total", finish="length", voice="placeholder", model="preview") == 1
    assert value(metrics, "samples_total") == 72_000
    assert value(metrics, "chunks_total") == 38
    assert value(metrics, "audio_seconds_sum") == 3.0
    assert value(metrics, "queue_seconds_sum") == 0.008
    assert value(metrics, "first_audio_seconds_sum") == 0.24
    assert value(metrics, "leading_silence_seconds_sum") == 0.08
    assert value(metrics, "rtf_sum") == 0.5
    assert value(metrics, "rtf_bucket", le="0.2") == 0
    assert value(metrics, "rtf_bucket", le="0.3") == 2


def test_a_text_with_nothing_to_speak_is_counted_and_not_measured() -> None:
    metrics = Metrics()
    metrics.completed(
        complete(finish="silent", samples=0, chunks=1, audio_ms=0, first_audio_ms=0, leading_silence_ms=0, rtf=0.0)
    )
    assert value(metrics, "finished_total", finish="silent", voice="placeholder", model="preview") == 1
    assert value(metrics, "queue_seconds_count") == 1
    for name in ("audio_seconds", "first_audio_seconds", "leading_silence_seconds", "rtf"):
        assert value(metrics, f"{name}_count") == 0


def test_other_ends_are_counted_by_outcome() -> None:
    metrics = Metrics()
    for outcome in ("cancelled", "expired", "expired"):
        metrics.ended(outcome)
    assert value(metrics, "utterances_total", outcome="cancelled") == 1
    assert value(metrics, "utterances_total", outcome="expired") == 2


def test_steps_have_a_number_and_a_length() -> None:
    metrics = Metrics()
    metrics.stepped(0.01)
    metrics.stepped(0.03)
    assert value(metrics, "engine_steps_total") == 2
    assert value(metrics, "engine_step_seconds_sum") == 0.04


def test_launches_without_a_graph_are_counted_by_kind_and_read_at_every_scrape() -> None:
    metrics, counts = Metrics(), {"frame": 0, "codec": 2}
    metrics.watch_eager(lambda: counts)
    assert value(metrics, "engine_eager_launches_total", kind="frame") == 0
    counts["frame"] = 3
    assert value(metrics, "engine_eager_launches_total", kind="frame") == 3
    assert value(metrics, "engine_eager_launches_total", kind="codec") == 2


def test_two_workers_in_one_process_do_not_meet() -> None:
    first, second = Metrics(), Metrics()
    first.lost_leases.inc()
    assert value(second, "lost_leases_total") == 0


def test_a_scraper_can_read_all_of_it_and_every_metric_is_explained() -> None:
    metrics = Metrics()
    metrics.completed(complete())
    metrics.reconnects.labels("claim").inc()
    families = list(text_string_to_metric_families(metrics.render().decode()))
    ours = {family.name for family in families if family.name.startswith("makima_tts_")}
    assert all(family.documentation for family in families)
    for name in ("queue_seconds", "jobs_unsettled", "oldest_job_age_seconds", "attempts", "fenced_writes"):
        assert f"makima_tts_{name}" in ours
    for name in ("lost_leases", "reconnects", "dead_letters", "slots_busy", "duplicates_deleted"):
        assert f"makima_tts_{name}" in ours
