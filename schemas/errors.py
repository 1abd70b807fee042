"""The error codes of the contract, and the exceptions.

MakimaError         problem, remedy and code; base class of every error of this project
├── JobError        a job's fields are not a job: code, message and the field at fault go to its session
├── WireError       bytes from a stream are not a message of this contract
└── …               the worker's own, beside the code that raises them
"""

from __future__ import annotations

from enum import StrEnum


class ErrorCode(StrEnum):
    """The `code` of an error message."""

    UNKNOWN_VOICE = "unknown_voice"  # no card has this name
    VOICE_UNAVAILABLE = "voice_unavailable"  # the card exists, its recording does not
    TEXT_EMPTY = "text_empty"
    TEXT_TOO_LONG = "text_too_long"
    UNSUPPORTED_FORMAT = "unsupported_format"  # sample_rate or encoding
    INVALID_FIELD = "invalid_field"
    INVALID_VERSION = "invalid_version"
    EXPIRED = "expired"  # it waited longer than its ttl_ms
    NO_AUDIO = "no_audio"  # the text was spoken and nothing was audible
    WORKER_LOST = "worker_lost"  # every attempt ended with a lost worker
    ENGINE_FAILED = "engine_failed"
    INTERNAL = "internal"

    @property
    def retryable(self) -> bool:
        """True when the same job, published again under a new job_id, may well succeed."""
        return self in RETRYABLE


RETRYABLE: frozenset[ErrorCode] = frozenset(
    {
        ErrorCode.EXPIRED,
        ErrorCode.NO_AUDIO,
        ErrorCode.WORKER_LOST,
        ErrorCode.ENGINE_FAILED,
        ErrorCode.INTERNAL,
    }
)


class MakimaError(Exception):
    """An error that this project raises. `str()` is one sentence: "problem; remedy".

    problem: what is wrong. remedy: what to do about it; "" where nothing can be done.
    code: how a job that meets it ends; None where no job meets it. A subclass may set it for all its errors.

    Code reads these fields and never takes the sentence apart. Exceptions that steer an utterance and are no errors
    (`session_writer.Stop`, `WorkerReserved`) have another base class.
    """

    code: ErrorCode | None = None

    def __init__(self, problem: str, remedy: str = "", code: ErrorCode | None = None) -> None:
        super().__init__(f"{problem}; {remedy}" if remedy else problem)
        self.problem = problem
        self.remedy = remedy
        if code is not None:
            self.code = code


class JobError(MakimaError, ValueError):  # ValueError: what clients caught before there was MakimaError
    """A job that cannot be spoken: `code` and `message` for its session, `field` the one at fault or None."""

    code: ErrorCode

    def __init__(self, code: ErrorCode, problem: str, field: str | None = None, remedy: str = "") -> None:
        super().__init__(problem, remedy, code)
        self.field = field

    @property
    def message(self) -> str:
        """The sentence that its session receives."""
        return str(self)

    def __reduce__(self) -> tuple[type[JobError], tuple[ErrorCode, str, str | None, str]]:
        return type(self), (self.code, self.problem, self.field, self.remedy)


class WireError(MakimaError, ValueError):  # as JobError
    """Bytes that are not a message of this contract, or a message that does not fit its limits."""
