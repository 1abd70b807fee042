"""The retry policy: which failures of Redis are temporary, and the back-off between two attempts."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from math import inf
from time import monotonic
from typing import TypeVar

import redis
from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterCrossSlotError,
    ClusterDownError,
    MasterDownError,
    NoPermissionError,
    ReadOnlyError,
    TryAgainError,
)

from schemas.errors import MakimaError
from worker.stream.transport.advice import sentence_on

RedisError = redis.RedisError  # for modules outside worker.stream, which do not import redis
Refusal = redis.ResponseError  # Redis answered with an error: a missing right, a key of another type
MissingRight = NoPermissionError
WrongPassword = AuthenticationError
OutOfMemory = redis.OutOfMemoryError

T = TypeVar("T")
log = logging.getLogger(__name__)


class UnwillingError(MakimaError, redis.ResponseError):
    """Redis refuses commands or writes for now: its disk is full, its replicas are away, or a script runs."""


PASSING = (
    redis.ConnectionError,  # also BusyLoadingError and AuthenticationError
    redis.TimeoutError,
    redis.OutOfMemoryError,
    UnwillingError,
    ReadOnlyError,
    ClusterDownError,
    MasterDownError,
    TryAgainError,
    OSError,
    TimeoutError,
)


# Refusals that concern the whole plane, not one key: the user's rights, or a server that is one node of a Cluster.
PLANE_REFUSALS = (MissingRight, AskError, ClusterCrossSlotError)  # MovedError is an AskError


def is_no_group(error: redis.ResponseError) -> bool:
    """The consumer group, or the whole job stream, does not exist."""
    return str(error).startswith("NOGROUP ")


def backoff_s(failures: int, cap_s: float = 1.0) -> float:
    """Exponential back-off with jitter, in seconds: doubles from 0.05 to the cap, times a random 0.5 to 1."""
    return min(cap_s, 0.05 * 2.0 ** min(failures, 10)) * random.uniform(0.5, 1.0)  # noqa: S311


@dataclass(slots=True)
class RetryPolicy:
    """Repeats a call until Redis carries it out.

    A repeated call must be safe to send twice: it may have been carried out and only its reply lost. plane: names the
    Redis in logs. on_failure: called for each failure. wants_rights: raise MissingRight until the first success, for a
    worker that never had the right to serve.
    """

    plane: str
    on_failure: Callable[[], None] = lambda: None
    wants_rights: bool = False
    last_error: str = ""
    _failing: dict[object, float] = field(default_factory=dict)  # call -> monotonic time of its first failure
    _recovered_at: float = -inf
    _logged_at: float = -inf

    @property
    def failing_since(self) -> float | None:
        """When the call that waits longest first failed, in monotonic seconds; None when no call waits.

        Each call counts for itself, since a Redis may serve some and refuse others, as when it is out of memory.
        """
        return min(self._failing.values(), default=None)

    async def __call__(self, call: Callable[[], Awaitable[T]]) -> T:
        me, failures = object(), 0
        try:
            while True:
                try:
                    answer = await call()
                except (*PASSING, *PLANE_REFUSALS) as error:
                    if self.wants_rights and isinstance(error, MissingRight):
                        raise
                    self._failed(me, error)
                    await asyncio.sleep(backoff_s(failures))
                    failures += 1
                else:
                    self.wants_rights = False
                    if failures:
                        self._recovered(me)
                    return answer
        finally:
            self._failing.pop(me, None)

    def has_answered_for_s(self, seconds: float) -> bool:
        """Whether Redis has served without a failure for so long, so that its other clients have reconnected too."""
        return not self._failing and monotonic() - self._recovered_at >= seconds

    def _failed(self, me: object, error: Exception) -> None:
        self.on_failure()
        self.last_error = sentence_on(error)
        now = monotonic()
        self._failing.setdefault(me, now)
        if now - self._logged_at > 10:
            self._logged_at = now
            log.warning("%s Redis does not serve; the worker retries: %s", self.plane, self.last_error)

    def _recovered(self, me: object) -> None:
        self._recovered_at = monotonic()
        since = self._failing.pop(me)
        if not self._failing:
            self._logged_at = -inf
            log.info("%s Redis serves again after %.1f s", self.plane, self._recovered_at - since)
