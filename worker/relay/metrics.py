"""The relay's metrics, for Prometheus. The Rust relay has the same."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from schemas.errors import ErrorCode

PREFIX = "makima_tts_relay"
OWN_CODES = frozenset(
    {"not_started", "already_started", "bad_message", "unsupported_format", "unavailable", "no_answer"}
)
_CODES = OWN_CODES | set(ErrorCode)


class RelayMetrics:
    """Counters of one relay, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.sockets = Gauge(f"{PREFIX}_sockets", "Open sockets.", registry=self.registry)
        self.opened = self._counter("sockets_opened", "Sockets since the start.")
        self.slow = self._counter("slow_sockets", "Sockets closed because they took nothing.")
        self.utterances = self._counter("utterances", "Utterances begun by clients.")
        self.audio_s = self._counter("audio_seconds", "Seconds of audio sent.")
        self.answers = self._counter("answers", "Answers: complete, cancelled, or an error's code.", "answer")
        self.refused = self._counter("refused", "Sockets refused, by status.", "status")

    def count(self, answer: dict[str, Any]) -> None:
        """Count a `complete` or `error` that is sent. A code of a newer worker is `other`: any word may stand there."""
        if answer["type"] == "error":
            self.answers.labels(answer["code"] if answer["code"] in _CODES else "other").inc()
        else:
            self.answers.labels("cancelled" if answer.get("cancelled") else "complete").inc()

    def page(self) -> bytes:
        return generate_latest(self.registry)

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(f"{PREFIX}_{name}", about, labels, registry=self.registry)
