"""What an attempt begins with: the parameters of BEGIN and its message."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.messages import Begin
from worker.stream.progress import Progress


@dataclass(frozen=True, slots=True)
class BeginRequest:
    """The parameters of BEGIN and of its message.

    deadline_ms: when a job that never began expires, by the session Redis' clock. max_attempts: attempts in a row that
    may deliver no new sample. has_codes: the engine resumes from codes. computed_on: the arithmetic that the samples
    depend on, None if the engine does not name it. is_exact: equal arithmetic gives equal samples. language: of the
    speech. traceparent: of the attempt's span, None without tracing.
    """

    voice: str
    model: str
    sample_rate: int
    encoding: str
    deadline_ms: int
    max_attempts: int
    has_codes: bool = False
    computed_on: str | None = None
    is_exact: bool = False
    language: str | None = None
    traceparent: str | None = None

    def message(self, job_id: str, session_id: str, attempt: int, delivered: int, progress: Progress) -> Begin:
        """The begin message of an attempt that resumes after `delivered` samples."""
        resumed_by = None if not delivered else progress.resumed_by(self.has_codes)
        return Begin(
            v=1,
            type="begin",
            job_id=job_id,
            session_id=session_id,
            voice=self.voice,
            model=self.model,
            sample_rate=self.sample_rate,
            encoding=self.encoding,
            attempt=attempt,
            resumed_at=delivered,
            resumed_by=resumed_by,
            computed_on=self.computed_on,
            resumed_exactly=None if resumed_by is None else self._is_resumed_exactly(resumed_by, progress),
            language=self.language,
            traceparent=self.traceparent,
        )

    def _is_resumed_exactly(self, resumed_by: str, progress: Progress) -> bool:
        """Whether the new samples equal, bit for bit, those that the earlier attempts would have delivered."""
        is_alike = self.computed_on is not None and self.is_exact and progress.computed_on == {self.computed_on}
        # an engine with codes that generates a segment again may choose another code at a near tie
        return is_alike and (not self.has_codes or resumed_by == "codes")
