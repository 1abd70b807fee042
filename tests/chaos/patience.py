"""redis-py clients for the driver, which breaks their Redis: a failed command is sent again, for up to a minute.

So a command may be carried out twice. A blocking read must be shorter than TIMEOUT_S.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from time import monotonic
from typing import Any, Self

import redis
from redis.backoff import ConstantBackoff, NoBackoff
from redis.exceptions import RedisClusterException, SlotNotCoveredError
from redis.retry import Retry
from redis.sentinel import Sentinel

from worker.stream.transport.retry import PASSING

PATIENCE_S = 60.0
TIMEOUT_S = 5.0

# A connection's own attempts would all go to the server it was first made to, which may be a replica by now.
OPTIONS: dict[str, Any] = {"protocol": 2, "socket_timeout": TIMEOUT_S, "retry": Retry(NoBackoff(), 0)}


def patiently(call: Callable[[], Any]) -> Any:
    """Its answer, or the error of the last attempt."""
    end_s = monotonic() + PATIENCE_S
    retry: Retry = Retry(ConstantBackoff(0.05), -1, (*PASSING, RedisClusterException, SlotNotCoveredError))
    return retry.call_with_retry(call, lambda _: None, is_retryable=lambda _: monotonic() < end_s)


class _Patient:
    def execute_command(self, *words: Any, **options: Any) -> Any:
        call = super().execute_command  # type: ignore[misc]
        return patiently(lambda: call(*words, **options))

    def pipeline(self, *words: Any, **options: Any) -> Any:
        begin = super().pipeline  # type: ignore[misc]
        return _PatientPipeline(lambda: begin(*words, **options))


class PatientRedis(_Patient, redis.Redis): ...


class PatientCluster(_Patient, redis.RedisCluster): ...


class _PatientPipeline:
    """Each attempt is a pipeline of its own: one that failed is empty."""

    def __init__(self, begin: Callable[[], Any]) -> None:
        self._begin = begin
        self.n_attempts = 0
        self._commands: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._commands.clear()

    def __getattr__(self, name: str) -> Callable[..., _PatientPipeline]:
        def queue(*words: Any, **options: Any) -> _PatientPipeline:
            self._commands.append((name, words, options))
            return self

        return queue

    def execute(self) -> Any:
        return patiently(self._attempt)

    def _attempt(self) -> Any:
        self.n_attempts += 1
        with self._begin() as pipeline:
            for name, words, options in self._commands:
                getattr(pipeline, name)(*words, **options)
            return pipeline.execute()


class SharedSentinel(Sentinel):
    """redis-py's reorders its list while it goes through it; two threads at it could lose a Sentinel."""

    _lock = Lock()

    def discover_master(self, service_name: str) -> Any:
        with self._lock:
            return super().discover_master(service_name)  # type: ignore[no-untyped-call]
