"""What can go wrong, in the words of the contract.

ValueError
├── JobError    a job's fields are not a job: code, message and the field at fault go to its session
└── WireError   bytes from a stream are not a message of this contract
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


class JobError(ValueError):
    """A job that cannot be spoken: `code` and `message` for its session, `field` the one at fault or None."""

    def __init__(self, code: ErrorCode, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field

    def __reduce__(self) -> tuple[type[JobError], tuple[ErrorCode, str, str | None]]:
        return type(self), (self.code, self.message, self.field)


class WireError(ValueError):
    """Bytes that are not a message of this contract, or a message that does not fit its limits."""
