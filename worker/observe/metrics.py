"""Every metric of a worker, in one place. Units are Prometheus' own: seconds, samples, counts.

Each Metrics has a registry of its own, so that two workers in one process, as in the tests, do not meet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import nan
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from worker.observe import logs

if TYPE_CHECKING:
    from schemas.messages import Complete
    from worker.stream.depths import Depths

_LATENCY_S = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.2,
    0.3,
    0.5,
    0.75,
    1,
    1.5,
    2.5,
    5,
    10,
    30,
    60,
    300,
)
_LENGTH_S = (0.25, 0.5, 1, 2, 3, 5, 8, 12, 20, 30, 60, 120, 300, 600)
_SILENCE_S = (0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
_RTF = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.85, 1, 1.25, 1.5, 2, 4)
_STEP_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.12, 0.25, 0.5, 1, 2.5)
_ATTEMPT = (1, 2, 3, 4, 5, 10)


class Metrics:
    """The attributes are what may be counted, observed and set; `render` is what a scraper reads."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._children: dict[tuple[Counter, tuple[str, ...]], Counter] = {}
        self._make_utterance_metrics()
        self._make_queue_metrics()
        self._make_worker_metrics()

    def _make_utterance_metrics(self) -> None:
        self.utterances = self._counter(
            "utterances", "Utterances ended, by outcome: complete, cancelled or an error code", "outcome"
        )
        self.finished = self._counter(
            "finished", "Complete utterances, by finish, voice and model", "finish", "voice", "model"
        )
        self.samples = self._counter("samples", "Output samples of complete utterances")
        self.chunks = self._counter("chunks", "Chunks of complete utterances")
        self.audio_s = self._histogram("audio_seconds", "Length of a complete utterance's speech", _LENGTH_S)
        self.queue_s = self._histogram("queue_seconds", "From the job's entry to its begin", _LATENCY_S)
        self.first_audio_s = self._histogram(
            "first_audio_seconds", "From the job's entry to its first audible chunk", _LATENCY_S
        )
        self.leading_silence_s = self._histogram(
            "leading_silence_seconds", "Silence before an utterance's first audible sample", _SILENCE_S
        )
        self.rtf = self._histogram("rtf", "Seconds of work for a second of speech (below 1 keeps up)", _RTF)
        self.attempts = self._histogram("attempts", "The attempt that began, counted from 1", _ATTEMPT)

    def _make_queue_metrics(self) -> None:
        self.jobs_unsettled = self._gauge("jobs_unsettled", "Jobs in the stream: queued, running and delayed")
        self.jobs_running = self._gauge("jobs_running", "Jobs some worker holds (pending)")
        self.jobs_ready = self._gauge("jobs_ready", "Jobs handed back that may run now")
        self.jobs_waiting = self._gauge("jobs_waiting", "Jobs behind an earlier one of their session")
        self.jobs_delayed = self._gauge("jobs_delayed", "Jobs waiting to be tried again")
        self.dead_letters = self._gauge("dead_letters", "Jobs among the dead letters")
        self.oldest_job_age_s = self._gauge("oldest_job_age_seconds", "Age of the oldest unsettled job, 0 without one")
        self.settled = self._counter("settled", "Attempts settled, by how: ok, retry, release or dead", "how")
        self.reclaimed = self._counter("reclaimed", "Jobs taken over from a worker that fell silent")
        self.damage = self._counter("damage", "Things in Redis that no worker wrote, by the job plane's key", "key")
        self.duplicates_deleted = self._counter("duplicates_deleted", "Jobs deleted: job_id seen before")

    def _make_worker_metrics(self) -> None:
        self.fenced_writes = self._counter(
            "fenced_writes", "Writes that Redis refused: a cancel or a newer epoch came first"
        )
        self.lost_leases = self._counter("lost_leases", "Jobs this worker lost to another while speaking")
        self.gone_listeners = self._counter("gone_listeners", "Utterances whose stream was gone")
        self.reconnects = self._counter("reconnects", "Times a connection had to be made anew", "connection")
        self.slots_busy = self._gauge("slots_busy", "Slots speaking now")
        self.slots_total = self._gauge("slots", "Slots of this worker")
        self.engine_steps = self._counter("engine_steps", "Steps the engine made")
        self.engine_step_s = self._histogram("engine_step_seconds", "Length of an engine's step", _STEP_S)
        self.ready = self._gauge("ready", "1 once warmed up and until the drain begins")
        self.registry.register(_DroppedLines())

    def count(self, counter: Counter, *labels: str) -> None:
        """Count one; prometheus_client itself looks long for the counter of some labels."""
        child = self._children.get((counter, labels))
        if child is None:
            child = self._children[counter, labels] = counter.labels(*labels)
        child.inc()

    def completed(self, complete: Complete) -> None:
        """Count every figure of a `complete` message, and its outcome."""
        self.count(self.utterances, "complete")
        self.count(self.finished, str(complete.finish), complete.voice, complete.model)
        self.samples.inc(complete.samples)
        self.chunks.inc(complete.chunks)
        self.audio_s.observe(complete.audio_ms / 1000)
        self.queue_s.observe(complete.queue_ms / 1000)
        self.first_audio_s.observe(complete.first_audio_ms / 1000)
        self.leading_silence_s.observe(complete.leading_silence_ms / 1000)
        self.rtf.observe(complete.rtf)

    def ended(self, outcome: str) -> None:
        """Count an utterance that ended as `cancelled` or with an error code."""
        self.count(self.utterances, outcome)

    def show(self, depths: Depths) -> None:
        """Set the gauges of the queue; NaN where one is not known."""
        shown = {
            self.jobs_unsettled: depths.unsettled,
            self.jobs_running: depths.running,
            self.jobs_ready: depths.ready,
            self.jobs_waiting: depths.waiting,
            self.jobs_delayed: depths.delayed,
            self.dead_letters: depths.dead,
            self.oldest_job_age_s: depths.oldest_s,
        }
        for gauge, value in shown.items():
            gauge.set(nan if value is None else value)

    def watch_memory(self, n_bytes: Callable[[], float]) -> None:
        """Show what the engine holds, asked at every scrape; an engine that cannot tell has no such metric."""
        about = "Memory the engine holds: the GPU's, or on a CPU the process' peak"
        self._gauge("engine_memory_bytes", about).set_function(n_bytes)

    def watch_round_trip(self, seconds: Callable[[], float]) -> None:
        """Show how long the job Redis takes to answer, asked at every scrape; NaN while it is not known."""
        about = "Median of the last round trips to the job Redis; more than a third of the lease is too long"
        self._gauge("redis_round_trip_seconds", about).set_function(seconds)

    def stepped(self, seconds: float) -> None:
        """Count one step of the engine."""
        self.engine_steps.inc()
        self.engine_step_s.observe(seconds)

    def render(self) -> bytes:
        """The text a scraper reads."""
        return generate_latest(self.registry)

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(f"makima_tts_{name}", about, labels, registry=self.registry)

    def _gauge(self, name: str, about: str) -> Gauge:
        return Gauge(f"makima_tts_{name}", about, registry=self.registry)

    def _histogram(self, name: str, about: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"makima_tts_{name}", about, buckets=buckets, registry=self.registry)


class _DroppedLines(Collector):
    """Asked at every scrape: the log belongs to the process and not to one worker's metrics."""

    def collect(self) -> Iterator[CounterMetricFamily]:
        yield CounterMetricFamily(
            "makima_tts_log_lines_dropped", "Lines of the log that nobody read in time", logs.n_dropped()
        )
