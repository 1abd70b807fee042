"""The AsyncAPI 3 documents: the contract from the worker's side, and from a relay's.

Braces mark a hash tag in Redis and a parameter in an AsyncAPI address. So the tags are parameters, and their values
contain the braces.
"""

from __future__ import annotations

from schemas.asyncapi_socket import with_socket
from schemas.documents import Document
from schemas.messages import MESSAGE_OF, TERMINAL_TYPES


def document(version: str) -> Document:
    """The AsyncAPI 3.0 document, from the worker's point of view. It refers to the schemas in json/ beside it."""
    return _document(version, "makima-tts", _operations())


def relay_document(version: str) -> Document:
    """The same channels and messages with the operations of a relay, and the socket of its clients."""
    return with_socket(_document(version, "A relay of makima-tts", _relay_operations()))


def _document(version: str, title: str, operations: Document) -> Document:
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": title,
            "version": version,
            "description": "A text-to-speech worker on Redis streams: speak jobs in, audio chunks out while they are"
            " generated. Headers are the flat fields of a stream entry, the payload of a session's entries is their"
            " field data (one msgpack map).",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/msgpack",
        "channels": {
            "jobs": _jobs_channel(),
            "text": _text_channel(),
            "audio": _audio_channel(),
            "hints": _hints_channel(),
            "cut": _cut_channel(),
        },
        "operations": operations,
        "components": {"messages": _messages(), "parameters": _parameters()},
    }


def _ref(path: str) -> Document:
    return {"$ref": path}


def _jobs_channel() -> Document:
    return {
        "address": "{prefix}:{jobsTag}:jobs",
        "title": "Jobs",
        "description": "A stream. Publishers only XADD with *; only workers read, acknowledge and delete.",
        "messages": {"job": _ref("#/components/messages/job")},
        "parameters": {name: _ref(f"#/components/parameters/{name}") for name in ("prefix", "jobsTag")},
    }


def _text_channel() -> Document:
    return {
        "address": "{prefix}:{sessionTag}:text:{jobId}",
        "title": "A text that is being written",
        "description": "A stream for a job with text_from. Publishers XADD with the IDs 1-0, 2-0, … and set its TTL,"
        " 600 s; a worker reads it from 0.",
        "messages": {"piece": _ref("#/components/messages/piece")},
        "parameters": {name: _ref(f"#/components/parameters/{name}") for name in ("prefix", "sessionTag", "jobId")},
    }


def _audio_channel() -> Document:
    kinds = (*MESSAGE_OF, "cancel")
    return {
        "address": "{prefix}:{sessionTag}:audio",
        "title": "Audio and messages of a session",
        "description": "A stream; read it with XREAD from 0. It expires 600 s after the last write; reading does not"
        " renew it.",
        "messages": {kind: _ref(f"#/components/messages/{kind}") for kind in kinds},
        "parameters": {name: _ref(f"#/components/parameters/{name}") for name in ("prefix", "sessionTag")},
    }


def _hints_channel() -> Document:
    return {
        "address": "{prefix}:{sessionTag}:audio",
        "title": "Hints that a session's stream has news",
        "description": "A channel for SUBSCRIBE (SSUBSCRIBE on a Cluster), named as the stream. It is lossy, and a"
        " worker may be set to send no hints: read the stream once a second all the same.",
        "messages": {"hint": _ref("#/components/messages/hint")},
        "parameters": {name: _ref(f"#/components/parameters/{name}") for name in ("prefix", "sessionTag")},
    }


def _cut_channel() -> Document:
    return {
        "address": "{prefix}:{sessionTag}:cut",
        "title": "The highest cancelled job",
        "description": "A stream of one entry (MAXLEN 1), written with the cancelled job's entry id as its id.",
        "messages": {"cut": _ref("#/components/messages/cut")},
        "parameters": {name: _ref(f"#/components/parameters/{name}") for name in ("prefix", "sessionTag")},
    }


def _relay_operations() -> Document:
    return {
        "publishJob": _operation("send", "jobs", "XADD with the ID *; the reply is the job's entry id.", ["job"]),
        "writeText": _operation("send", "text", "Write a text while it is being made.", ["piece"]),
        "receiveSession": _operation(
            "receive",
            "audio",
            "begin, segments and audio, then exactly one of complete, cancelled and error for every job; cancels of all"
            " programs.",
            [*MESSAGE_OF, "cancel"],
        ),
        "receiveHint": _operation("receive", "hints", "XREAD the session's stream without BLOCK.", ["hint"]),
        "interrupt": _operation("send", "audio", "Stop what is spoken, in one MULTI with cutJobs.", ["cancel"]),
        "cutJobs": _operation("send", "cut", "Cancel the jobs up to an entry id.", ["cut"]),
    }


def _operations() -> Document:
    sent = [_ref(f"#/channels/audio/messages/{kind}") for kind in MESSAGE_OF]
    return {
        "takeJobs": _operation("receive", "jobs", "Claim jobs, in each session's order.", ["job"]),
        "readText": _operation("receive", "text", "Read a text while it is being written.", ["piece"]),
        "tellSession": {
            "action": "send",
            "channel": _ref("#/channels/audio"),
            "summary": "begin, segments and audio, then exactly one of complete, cancelled and error for every job.",
            "messages": sent,
        },
        "sendHint": _operation("send", "hints", "PUBLISH the entry's id after each write.", ["hint"]),
        "noticeCancel": _operation("receive", "audio", "Stop the job: the worker's next write is refused.", ["cancel"]),
        "noticeCut": _operation("receive", "cut", "End jobs up to this id as cancelled.", ["cut"]),
    }


def _operation(action: str, channel: str, summary: str, kinds: list[str]) -> Document:
    return {
        "action": action,
        "channel": _ref(f"#/channels/{channel}"),
        "summary": summary,
        "messages": [_ref(f"#/channels/{channel}/messages/{kind}") for kind in kinds],
    }


def _messages() -> Document:
    messages: Document = {
        "job": {
            "name": "job",
            "contentType": "application/x-redis-stream-fields",
            "summary": "One speak job: flat fields, readable with XRANGE.",
            "payload": _ref("./json/job.json"),
        }
    }
    for kind, model in MESSAGE_OF.items():
        messages[kind] = {
            "name": kind,
            "contentType": "application/msgpack",
            "summary": model.__doc__,
            "headers": _headers(kind),
            "payload": _ref(f"./json/{kind}.json"),
        }
    one = {"type": "string", "const": "1"}
    piece = {
        "text": {"type": "string", "description": "the next bytes of the text, UTF-8; cut anywhere"},
        "flush": one | {"description": "what is there is to be spoken now"},
        "end": one | {"description": "the text is complete"},
    }
    messages["piece"] = {
        "name": "piece",
        "contentType": "application/x-redis-stream-fields",
        "summary": "A piece of a text; text counts before flush, and flush before end.",
        "headers": {"type": "object", "properties": piece, "minProperties": 1},
    }
    messages["hint"] = {
        "name": "hint",
        "contentType": "text/plain",
        "summary": "The id of an entry that was written.",
        "payload": {"type": "string", "pattern": "^[0-9]+-[0-9]+$"},
    }
    upto = {"type": "string", "pattern": "^[0-9]+-[0-9]+$", "description": "jobs up to this entry id are cancelled"}
    messages["cancel"] = _flat("cancel", "Written by clients, without data.", {"upto": upto})
    messages["cut"] = _flat("cut", "Written by clients; its ID names the last job to cancel.", {}) | {"title": "Cut"}
    messages["cut"]["headers"]["properties"]["type"]["const"] = "cancel"
    return messages


def _headers(kind: str) -> Document:
    fields: Document = {
        "type": {"type": "string", "const": kind},
        "job_id": {"type": "string", "description": "as in the payload"},
        "entry": {"type": "string", "pattern": "^[0-9]+-[0-9]+$", "description": "the job's entry id"},
        "delivered": {
            "type": "string",
            "pattern": "^[0-9]+$",
            "description": "the job's samples up to here, this entry included",
        },
    }
    required = list(fields)
    if kind == "audio":
        text = "for workers: segment uint16, first frame uint32, frames x 16 uint16, little-endian; clients skip it"
        fields["codes"] = {"type": "string", "contentEncoding": "binary", "description": text}
    if kind == "error":
        fields["code"] = {"type": "string", "description": "as in the payload, for redis-cli"}
        fields["message"] = {"type": "string", "description": "as in the payload, for redis-cli"}
        required += ["code", "message"]
    if kind in TERMINAL_TYPES:
        held = "ms for which the job, or those before it, waited for listener or text; missing where none did"
        fields["held"] = {"type": "string", "pattern": "^[0-9]+$", "description": held}
    at = "ms of the session Redis' clock when it was written; missing where a worker of 0.3 wrote it"
    fields["at"] = {"type": "string", "pattern": "^[0-9]+$", "description": at}
    return {"type": "object", "required": required, "properties": fields}


def _flat(kind: str, summary: str, more: Document) -> Document:
    properties = {"type": {"type": "string", "const": kind}} | more
    headers = {"type": "object", "required": list(properties), "properties": properties}
    return {"name": kind, "contentType": "application/x-redis-stream-fields", "summary": summary, "headers": headers}


def _parameters() -> Document:
    return {
        "prefix": {"description": "of every key, MAKIMA_TTS_PREFIX", "default": "makima"},
        "jobsTag": {"description": "the job plane's hash tag, braces included", "enum": ["{speak}"]},
        "jobId": {"description": "the job's job_id"},
        "sessionTag": {
            "description": "the session's hash tag: its session_id in braces",
            "examples": ["{s1}"],
        },
    }
