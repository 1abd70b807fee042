"""A server's error reply as an exception, by its code: the reply's first word."""

from __future__ import annotations

import redis
from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterCrossSlotError,
    ClusterDownError,
    ExecAbortError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)

from worker.stream.transport.retry import UnwillingError

_BY_CODE: dict[str, type[Exception]] = {
    "BUSY": UnwillingError,
    "CLUSTERDOWN": ClusterDownError,
    "CROSSSLOT": ClusterCrossSlotError,
    "EXECABORT": ExecAbortError,
    "LOADING": BusyLoadingError,
    "MASTERDOWN": MasterDownError,
    "MISCONF": UnwillingError,
    "NOAUTH": AuthenticationError,
    "NOPERM": NoPermissionError,
    "NOREPLICAS": UnwillingError,
    "NOSCRIPT": NoScriptError,
    "OOM": OutOfMemoryError,
    "READONLY": ReadOnlyError,
    "TRYAGAIN": TryAgainError,
    "UNBLOCKED": ReadOnlyError,  # ends a blocked command when its server becomes a replica
    "WRONGPASS": AuthenticationError,
}
# Replies without a code of their reason. The last two: a script's user lacks a right (Redis 7.0; later and Valkey).
_BY_WORDS: tuple[tuple[str, type[Exception]], ...] = (
    ("ERR max number of clients reached", redis.ConnectionError),
    ("ERR AUTH <password> called without any password", AuthenticationError),
    ("ERR The user executing the script can't", NoPermissionError),
    ("ERR ACL failure in script", NoPermissionError),
)


def refusal(reply: str) -> Exception:
    """The exception for an error reply, with the reply as its text; a ResponseError where the code has no class."""
    code, _, rest = reply.partition(" ")
    if code in ("MOVED", "ASK"):
        try:
            return (MovedError if code == "MOVED" else AskError)(rest)
        except (ValueError, IndexError):  # no slot and place behind the code
            return ResponseError(reply)
    kind = _BY_CODE.get(code) or next((kind for words, kind in _BY_WORDS if reply.startswith(words)), ResponseError)
    return kind(reply)
