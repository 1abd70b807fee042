"""The speak socket in the relay's AsyncAPI document: a second server, with one channel for its clients.

vectors/socket.md has the protocol in sentences.
"""

from __future__ import annotations

from typing import Any

from schemas.documents import Document
from schemas.job_values import DEFAULT_SAMPLE_RATE_HZ, SAMPLE_RATES, Encoding

CHANNEL = "speak"
_FLAG = {"type": "boolean"}
_TEXT = {"type": "string"}
_WHOLE = {"type": "integer", "minimum": 0}

# Name of the type: when it is sent, all members, those that may be missing or null.
_FROM_CLIENTS: dict[str, tuple[str, Document, set[str]]] = {
    "start": (
        "Begins the session; answered by ready.",
        {
            "sample_rate": {"type": "integer", "enum": list(SAMPLE_RATES), "default": DEFAULT_SAMPLE_RATE_HZ},
            "encoding": {"enum": [*Encoding, "pcm16"], "default": Encoding.PCM_S16LE},
            "binary": _FLAG | {"default": False, "description": "samples come as binary frames"},
            "segments": _FLAG | {"default": False, "description": "segment messages are sent"},
        },
        {"sample_rate", "encoding", "binary", "segments"},
    ),
    "speak": ("Speaks a whole text.", {"text": _TEXT}, set()),
    "text": ("Continues the open text, or opens one.", {"text": _TEXT}, set()),
    "flush": ("What was sent of the open text is spoken now.", {}, set()),
    "end": ("Closes the open text.", {}, set()),
    "stop": (
        "Silences and cancels all that was sent before.",
        {"played_ms": {"type": "number", "minimum": 0, "description": "put out since start or the last stop"}},
        {"played_ms"},
    ),
}
_TO_CLIENTS: dict[str, tuple[str, Document, set[str]]] = {
    "ready": ("Answers start.", {"session_id": _TEXT}, set()),
    "audio_chunk": ("Samples.", {"data": _TEXT | {"contentEncoding": "base64"}, "is_final": _FLAG}, set()),
    "complete": ("The utterance is complete, or was cancelled.", {"cancelled": {"const": True}}, {"cancelled"}),
    "error": ("The utterance failed, or a message was refused.", {"code": _TEXT, "message": _TEXT}, set()),
    "segment": (
        "A part of the text, before its first audio. Of one index the later message holds.",
        {"utterance": _WHOLE, "index": _WHOLE, "pos": _WHOLE, "text": _TEXT},
        set(),
    ),
    "text_heard": (
        "Answers a stop that has played_ms.",
        {"utterance": {"type": ["integer", "null"]}, "text": _TEXT, "is_estimate": _FLAG},
        set(),
    ),
}


def with_socket(document: Document) -> Document:
    """The relay's document with the server of its clients beside Redis."""
    on_redis = {"servers": [{"$ref": "#/servers/redis"}]}
    channels = {name: channel | on_redis for name, channel in document["channels"].items()}
    names = [*_FROM_CLIENTS, *_TO_CLIENTS, "samples"]
    channels[CHANNEL] = {
        "address": "/api/v1/speak",
        "title": "The speak socket",
        "description": "A WebSocket. Members and messages that are not listed are skipped, and null counts as missing;"
        " vectors/socket.md has more.",
        "servers": [{"$ref": "#/servers/relay"}],
        "messages": {name: {"$ref": f"#/components/messages/{_in_components(name)}"} for name in names},
    }
    operations = {
        "receiveFromClient": _operation("receive", "start first, then any of the others.", [*_FROM_CLIENTS]),
        "sendToClient": _operation(
            "send", "Exactly one of complete and error for every utterance, in order.", [*_TO_CLIENTS, "samples"]
        ),
    }
    components = document["components"]
    servers = {
        "redis": {"host": "127.0.0.1:6379", "protocol": "redis", "description": "of the jobs and the sessions"},
        "relay": {"host": "127.0.0.1:8080", "protocol": "ws", "description": "wss behind a proxy with TLS"},
    }
    head = {"asyncapi": document["asyncapi"], "info": document["info"], "servers": servers}
    return (
        head
        | document
        | {
            "channels": channels,
            "operations": document["operations"] | operations,
            "components": components | {"messages": components["messages"] | _messages()},
        }
    )


def _in_components(name: str) -> str:
    return "socket_" + name


def _operation(action: str, summary: str, names: list[str]) -> Document:
    messages = [{"$ref": f"#/channels/{CHANNEL}/messages/{name}"} for name in names]
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{CHANNEL}"},
        "summary": summary,
        "messages": messages,
    }


def _messages() -> Document:
    messages: dict[str, Any] = {
        _in_components(name): _message(name, *described) for name, described in (_FROM_CLIENTS | _TO_CLIENTS).items()
    }
    messages[_in_components("samples")] = {
        "name": "samples",
        "contentType": "application/octet-stream",
        "summary": "A binary frame of samples, where start has binary.",
    }
    return messages


def _message(name: str, summary: str, members: Document, may_miss: set[str]) -> Document:
    properties = {"type": {"const": name}} | members
    required = [member for member in properties if member not in may_miss]
    payload = {"type": "object", "required": required, "properties": properties}
    return {"name": name, "contentType": "application/json", "summary": summary, "payload": payload}
