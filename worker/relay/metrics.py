"""The relay's metrics, for Prometheus."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

PREFIX = "makima_tts_relay"


class RelayMetrics:
    """Counters of one relay, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.sockets = Gauge(f"{PREFIX}_sockets", "Open sockets.", registry=self.registry)
        self.refused = Counter(f"{PREFIX}_refused", "Sockets refused, by status.", ["status"], registry=self.registry)
        self.utterances = Counter(f"{PREFIX}_utterances", "Utterances begun by clients.", registry=self.registry)
        self.answers = Counter(
            f"{PREFIX}_answers", "Answers: complete, cancelled, or an error's code.", ["answer"], registry=self.registry
        )
        self.audio_s = Counter(f"{PREFIX}_audio_seconds", "Seconds of audio sent.", registry=self.registry)

    def count(self, answer: dict[str, Any]) -> None:
        """Count a `complete` or `error` that is sent."""
        if answer["type"] == "error":
            self.answers.labels(answer["code"]).inc()
        else:
            self.answers.labels("cancelled" if answer.get("cancelled") else "complete").inc()

    def page(self) -> bytes:
        return generate_latest(self.registry)
