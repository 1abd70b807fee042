"""Tracing that does nothing, which is the default; the base of `worker.observe.tracing.spans`."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from schemas.messages import Complete
from worker.stream.begin_request import BeginRequest
from worker.stream.lease import Lease
from worker.stream.session_writer import SessionWriter


class AttemptTrace:
    """The trace of one attempt, and a context that ends it."""

    @property
    def traceparent(self) -> str | None:
        """W3C Trace Context of its span; None without one."""
        return None

    def begun(self, request: BeginRequest, writer: SessionWriter, queue_ms: int) -> None:
        """BEGIN was carried out. queue_ms: from the job's XADD to its first `begin`."""

    def audible(self, after_s: float | None) -> None:
        """The first audible audio was written so long after `begun`; None: there was none."""

    def completed(self, message: Complete) -> None:
        """The job was spoken to its end."""

    def cancelled(self, n_samples: int) -> None:
        """The job was cancelled after so many samples."""

    def failed(self, code: str, field: str | None = None) -> None:
        """The attempt failed. code: of the contract. field: the job's field at fault."""

    def settled(self, verdict: str) -> None:
        """The attempt ended on the job plane with this verdict."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None: ...


class Tracing:
    """Makes the traces of a worker's attempts."""

    is_on = False

    def attempt(self, lease: Lease, job_id: str) -> AttemptTrace:
        return AttemptTrace()

    def close(self) -> None:
        """Export what has ended. Returns within about a second."""
