"""What a client sends over its socket, checked: one dataclass for each type of message."""

from __future__ import annotations

import json
from dataclasses import dataclass
from sys import float_info
from typing import Any, NoReturn

from schemas.errors import MakimaError

MAX_MESSAGE_BYTES = 65_536
MAX_PLAYED_MS = 1e12  # 30 years; a larger number counts as this one
DEFAULT_SAMPLE_RATE = 24_000
DEFAULT_ENCODING = "pcm_s16le"


class MessageRefused(MakimaError):
    """A message of the client that is not carried out. refusal: the code that the client receives."""

    def __init__(self, refusal: str, problem: str, remedy: str = "") -> None:
        super().__init__(problem, remedy)
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class StartMessage:
    """The session's format. binary: samples as binary frames. segments: report the parts of the text."""

    sample_rate: int = DEFAULT_SAMPLE_RATE
    encoding: str = DEFAULT_ENCODING
    binary: bool = False
    segments: bool = False


@dataclass(frozen=True, slots=True)
class SpeakMessage:
    """A whole text."""

    text: str


@dataclass(frozen=True, slots=True)
class TextMessage:
    """A piece of the open text."""

    text: str


@dataclass(frozen=True, slots=True)
class FlushMessage:
    """Speak what was sent of the open text."""


@dataclass(frozen=True, slots=True)
class EndMessage:
    """Close the open text."""


@dataclass(frozen=True, slots=True)
class StopMessage:
    """Silence at once. played_ms: audio that the client has played since `start` or the last `stop`, or None."""

    played_ms: float | None = None


ClientMessage = StartMessage | SpeakMessage | TextMessage | FlushMessage | EndMessage | StopMessage


def read_message(frame: str | bytes) -> ClientMessage:
    """Read one frame. Raises MessageRefused with `bad_message`. Members that are not listed are ignored."""
    members = _members(frame)
    match members.get("type"):
        case "start":
            return StartMessage(
                _integer(members, "sample_rate", DEFAULT_SAMPLE_RATE),
                _string(members, "encoding", DEFAULT_ENCODING),
                _boolean(members, "binary"),
                _boolean(members, "segments"),
            )
        case "speak":
            return SpeakMessage(_string(members, "text"))
        case "text":
            return TextMessage(_string(members, "text"))
        case "flush":
            return FlushMessage()
        case "end":
            return EndMessage()
        case "stop":
            return StopMessage(_played(members))
    _refuse("the message has no known type", "send start, speak, text, flush, end or stop")


def _members(frame: str | bytes) -> dict[str, Any]:
    if isinstance(frame, bytes):
        _refuse("this is a binary frame", "send JSON in text frames")
    if len(frame) > MAX_MESSAGE_BYTES or len(frame.encode()) > MAX_MESSAGE_BYTES:
        _refuse(f"the message has more than {MAX_MESSAGE_BYTES:,} bytes", "send a long text in several messages")
    try:
        members = json.loads(frame, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        _refuse("the message is not JSON", 'send for example {"type": "speak", "text": "Hello."}')
    if not isinstance(members, dict):
        _refuse("the message is no JSON object", 'send for example {"type": "speak", "text": "Hello."}')
    return members


def _refuse(problem: str, remedy: str) -> NoReturn:
    raise MessageRefused("bad_message", problem, remedy)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _string(members: dict[str, Any], name: str, default: str | None = None) -> str:
    value = members.get(name)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        _refuse(f"`{name}` is missing or no string", f"send `{name}` as a string")
    try:
        value.encode()
    except UnicodeEncodeError:  # JSON can escape one half of a surrogate pair
        _refuse(f"`{name}` has half of a surrogate pair", "send whole characters")
    return value


def _integer(members: dict[str, Any], name: str, default: int) -> int:
    value = members.get(name)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool):
        _refuse(f"`{name}` is no integer", f"send `{name}` as an integer, or leave it out")
    return value


def _boolean(members: dict[str, Any], name: str) -> bool:
    value = members.get(name)
    if value is not None and not isinstance(value, bool):
        _refuse(f"`{name}` is neither true nor false", f"send `{name}` as true or false, or leave it out")
    return bool(value)


def _played(members: dict[str, Any]) -> float | None:
    value = members.get("played_ms")
    if value is None:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= float_info.max:
        return float(min(value, MAX_PLAYED_MS))
    _refuse("`played_ms` is no number of at least 0", "send the milliseconds that were played, or leave it out")
