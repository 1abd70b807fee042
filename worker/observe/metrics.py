"""Every metric of a worker, in Prometheus' base units.

Each Metrics has its own registry, so that two workers in one process, as in the tests, do not share metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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
    """A worker's metrics, one attribute each."""

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
        self.audio_s = self._histogram("audio_seconds", "Length of a complete utterance's audio", _LENGTH_S)
        self.queue_s = self._histogram("queue_seconds", "Time from the job's entry to its begin", _LATENCY_S)
        self.first_audio_s = self._histogram(
            "first_audio_seconds", "Time from the job's entry to its first audible chunk", _LATENCY_S
        )
        self.leading_silence_s = self._histogram(
            "leading_silence_seconds", "Silence before an utterance's first audible sample", _SILENCE_S
        )
        self.rtf = self._histogram("rtf", "Real-time factor: seconds of work for a second of audio", _RTF)
        self.attempts = self._histogram("attempts", "Number of the attempt that began, counted from 1", _ATTEMPT)

    def _make_queue_metrics(self) -> None:
        self.jobs_unsettled = self._gauge("jobs_unsettled", "Jobs in the stream: queued, running and delayed")
        self.jobs_running = self._gauge("jobs_running", "Jobs that a worker holds a lease of (pending)")
        self.jobs_ready = self._gauge("jobs_ready", "Jobs that were handed back and may run now")
        self.jobs_waiting = self._gauge("jobs_waiting", "Jobs that wait for an earlier job of their session")
        self.jobs_delayed = self._gauge("jobs_delayed", "Jobs in back-off before another attempt")
        self.dead_letters = self._gauge("dead_letters", "Jobs in the dead-letter stream")
        self.oldest_job_age_s = self._gauge("oldest_job_age_seconds", "Age of the oldest unsettled job; 0 without one")
        self.settled = self._counter("settled", "Attempts settled, by how: ok, retry, release or dead", "how")
        self.reclaimed = self._counter("reclaimed", "Jobs taken over from a worker whose lease expired")
        self.damage = self._counter("damage", "Damage found in Redis, by the job plane's key", "key")
        self.duplicates_deleted = self._counter(
            "duplicates_deleted", "Jobs deleted because their job_id was seen before"
        )

    def _make_worker_metrics(self) -> None:
        self.fenced_writes = self._counter("fenced_writes", "Writes refused because of a cancel or a newer attempt")
        self.lost_leases = self._counter("lost_leases", "Jobs that another worker took over from this one")
        self.gone_listeners = self._counter("gone_listeners", "Utterances whose session stream was deleted")
        self.reconnects = self._counter("reconnects", "Reconnections, by connection", "connection")
        self.slots_busy = self._gauge("slots_busy", "Slots in use")
        self.slots_total = self._gauge("slots", "Slots of this worker")
        self.engine_steps = self._counter("engine_steps", "Steps of the engine")
        self.engine_step_s = self._histogram("engine_step_seconds", "Duration of an engine step", _STEP_S)
        self.ready = self._gauge("ready", "1 once warmed up and until the drain begins")
        self.registry.register(_DroppedLines())

    def count(self, counter: Counter, *labels: str) -> None:
        """Count one. Children are cached: `labels` of prometheus_client is slow."""
        child = self._children.get((counter, labels))
        if child is None:
            child = self._children[counter, labels] = counter.labels(*labels)
        child.inc()

    def completed(self, complete: Complete) -> None:
        """Record every figure of a `complete` message, and its outcome. Without samples only `queue_ms` is measured."""
        self.count(self.utterances, "complete")
        self.count(self.finished, str(complete.finish), complete.voice, complete.model)
        self.samples.inc(complete.samples)
        self.chunks.inc(complete.chunks)
        self.queue_s.observe(complete.queue_ms / 1000)
        if not complete.samples:
            return
        self.audio_s.observe(complete.audio_ms / 1000)
        self.first_audio_s.observe(complete.first_audio_ms / 1000)
        self.leading_silence_s.observe(complete.leading_silence_ms / 1000)
        self.rtf.observe(complete.rtf)

    def ended(self, outcome: str) -> None:
        """Count an utterance that ended as `cancelled` or with an error code."""
        self.count(self.utterances, outcome)

    def show(self, depths: Depths) -> None:
        """Set the gauges of the queue; NaN for an unknown value."""
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
        """Add the gauge of the engine's memory, read at every scrape."""
        about = "Memory of the engine: on the GPU, or on a CPU the process' peak"
        self._gauge("engine_memory_bytes", about).set_function(n_bytes)

    def watch_eager(self, n_launches: Callable[[], Mapping[str, int]]) -> None:
        """Add the counter of launches without a CUDA graph, by kind, read at every scrape."""
        self.registry.register(_EagerLaunches(n_launches))

    def watch_round_trip(self, seconds: Callable[[], float]) -> None:
        """Add the gauge of the job Redis' round trip, read at every scrape; NaN while it is unknown."""
        about = "Median of the last round trips to the job Redis; keep it below a third of the lease"
        self._gauge("redis_round_trip_seconds", about).set_function(seconds)

    def stepped(self, seconds: float) -> None:
        """Record one step of the engine."""
        self.engine_steps.inc()
        self.engine_step_s.observe(seconds)

    def render(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(f"makima_tts_{name}", about, labels, registry=self.registry)

    def _gauge(self, name: str, about: str) -> Gauge:
        return Gauge(f"makima_tts_{name}", about, registry=self.registry)

    def _histogram(self, name: str, about: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"makima_tts_{name}", about, buckets=buckets, registry=self.registry)


class _EagerLaunches(Collector):
    def __init__(self, n_launches: Callable[[], Mapping[str, int]]) -> None:
        self._n_launches = n_launches

    def collect(self) -> Iterator[CounterMetricFamily]:
        about = "Launches of the GPU that had no CUDA graph, by kind: frame, prefill or codec"
        family = CounterMetricFamily("makima_tts_engine_eager_launches", about, labels=["kind"])
        for kind, n in self._n_launches().items():
            family.add_metric([kind], n)
        yield family


class _DroppedLines(Collector):
    """Reads the log's counter at every scrape: the log belongs to the process, not to one worker's Metrics."""

    def collect(self) -> Iterator[CounterMetricFamily]:
        yield CounterMetricFamily(
            "makima_tts_log_lines_dropped", "Log lines dropped because stderr was not read in time", logs.n_dropped()
        )
