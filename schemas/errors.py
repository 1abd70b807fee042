"""The error codes of the contract, and the exceptions.

MakimaError         problem, remedy and code; base class of every error of this project
├── JobError        a job that cannot be spoken: its session receives code, message and the field at fault
├── WireError       bytes of a stream that are no message of this contract
└── …               the worker's errors, beside the code that raises them
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class ErrorCode(StrEnum):
    """The `code` of an error message. `schemas.error_page` writes docs/errors.md from this list.

    meaning: what happened. action: what a client does about it.
    retryable: the same job, published again under a new job_id, may well succeed.
    """

    meaning: str
    action: str
    retryable: bool

    UNKNOWN_VOICE = (
        "unknown_voice",
        "No voice card has the name in `voice`.",
        "Use one of the names that the message lists, or leave `voice` out.",
    )
    VOICE_UNAVAILABLE = (
        "voice_unavailable",
        "The voice card exists, but this engine cannot use its recording.",
        "Use another voice. The operator runs `makima-tts voices check`.",
    )
    TEXT_EMPTY = (
        "text_empty",
        "`text` is missing, empty, or white space alone; so is a text that was read from a stream.",
        "Send the text, or skip the job.",
    )
    TEXT_TOO_LONG = (
        "text_too_long",
        "`text` is longer than the worker's limit (`MAKIMA_TTS_MAX_TEXT_CHARS`).",
        "Split the text into several jobs of one session.",
    )
    TEXT_STALLED = (
        "text_stalled",
        "A text that is being written got no further piece and no `end` for `MAKIMA_TTS_TEXT_WAIT_S`.",
        "Write `end` when the text is complete. Publish what is missing as a new job.",
        True,
    )
    UNSUPPORTED_FORMAT = (
        "unsupported_format",
        "`sample_rate` or `encoding` is none of those that the contract lists.",
        "Use one of the values that the message lists.",
    )
    INVALID_FIELD = (
        "invalid_field",
        "Another field is missing, repeated, not UTF-8 or out of range; `field` names it.",
        "Correct the publisher: the message states the allowed values.",
    )
    INVALID_VERSION = (
        "invalid_version",
        "`v` names a version of the contract that this worker does not support.",
        "Leave `v` out, or send 1.",
    )
    EXPIRED = (
        "expired",
        "The job waited longer than its `ttl_ms` before a worker began it.",
        "Publish it again if it still matters; add workers if this repeats.",
        True,
    )
    NO_AUDIO = (
        "no_audio",
        "The engine spoke the text and every sample is silent.",
        "Publish it again with another `seed`; check that the text has words.",
        True,
    )
    WORKER_LOST = (
        "worker_lost",
        "Every attempt ended because its worker stopped, until `MAKIMA_TTS_MAX_ATTEMPTS` was reached.",
        "Publish it again once; if it fails again, report the text, which may be what stops the workers.",
        True,
    )
    ENGINE_FAILED = (
        "engine_failed",
        "The speech engine failed at every attempt; the message holds its reason.",
        "Publish it again later. The operator reads the worker's log.",
        True,
    )
    INTERNAL = (
        "internal",
        "The worker failed in another way, or the job's entry or the session's stream was deleted meanwhile.",
        "Publish it again later. The operator reads the worker's log. Treat every unknown code as this one.",
        True,
    )

    def __new__(cls, code: str, meaning: str = "", action: str = "", retryable: bool = False) -> Self:
        member = str.__new__(cls, code)
        member._value_ = code
        member.meaning, member.action, member.retryable = meaning, action, retryable
        return member


RETRYABLE = frozenset(code for code in ErrorCode if code.retryable)
SESSION_UNWRITABLE = "session_unwritable"  # a dead letter's reason where no error entry could be written


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


class JobError(MakimaError, ValueError):  # ValueError: clients catch it as such
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
    """Bytes that are no message of this contract, or a message above its limits."""
