"""Golden sockets of messages that a relay refuses. The socket stays open after each of them but the last."""

from __future__ import annotations

import json

from schemas.golden_socket_case import SocketCase, heard, lit, refused
from schemas.golden_streams import DONE, sent

N_UNFINISHED = 10  # unanswered utterances that a relay allows by default
MAX_BYTES = 65_536
MAX_FRAME_BYTES = 1_048_576

_NOT_JSON = (
    "", " ", "{", "mood", "{'type':'stop'}", '{"type":"stop"} {}', '{"type":"stop",}', '{"type":"stop"',
    '{"type":"stop","played_ms":NaN}', '{"type":"stop","played_ms":Infinity}', '{"type":"stop","played_ms":-Infinity}',
    '{"type":"stop","played_ms":01}', '{"type":"stop","played_ms":+1}', '{"type":"stop","played_ms":.5}',
    '{"type":"stop","played_ms":1.}', '{"type":"stop","played_ms":0x10}', '/**/{"type":"stop"}',
    '\ufeff{"type":"stop"}',
    '{"type":"speak","text":"a\nb"}', '{"type":"speak","text":"\\x41"}', '{"type":"speak","text":"\\ud800"}',
    '{"type":"speak","text":"\\ude00\\ud83d"}', '{"type":"text","text":"a\\udfff"}',
)  # fmt: skip
_NO_OBJECT = ("[]", "1", "-0.5", "null", "true", '"stop"', '[{"type":"stop"}]')
_NO_TYPE = (
    "{}", '{"text":"Hello"}', '{"type":null}', '{"type":5}', '{"type":true}', '{"type":["stop"]}', '{"type":{}}',
    '{"type":""}', '{"type":"mood"}', '{"type":"STOP"}', '{"type":" stop"}', '{"type":"ready"}', '{"type":"complete"}',
)  # fmt: skip
_BAD_MEMBERS = (
    *(f'{{"type":"{kind}"{text}}}' for kind in ("speak", "text") for text in (
        "", ',"text":null', ',"text":5', ',"text":true', ',"text":["a"]', ',"text":{"a":"b"}', ',"Text":"a"',
    )),
    *(f'{{"type":"stop","played_ms":{value}}}' for value in (
        "-1", "-0.001", '"1"', "true", "false", "[]", "[1]", "{}", "1e400", "-1e308", f"1{'0' * 400}",
    )),
    '{"type":"flush"}', '{"type":"end"}',
)  # fmt: skip
_BAD_STARTS = tuple(
    f'{{"type":"start",{member}}}'
    for member in (
        '"sample_rate":24000.0', '"sample_rate":2.4e4', '"sample_rate":"24000"', '"sample_rate":true',
        '"sample_rate":[24000]', '"encoding":5', '"encoding":false', '"encoding":["pcm16"]', '"binary":1', '"binary":0',
        '"binary":"true"', '"binary":{}', '"segments":1', '"segments":"false"', '"segments":[]',
    )
)  # fmt: skip
_UNSUPPORTED = tuple(
    f'{{"type":"start",{member}}}'
    for member in (
        '"sample_rate":0', '"sample_rate":-8000', '"sample_rate":1', '"sample_rate":11025', '"sample_rate":96000',
        '"sample_rate":24001', '"encoding":""', '"encoding":"opus"', '"encoding":"PCM_S16LE"', '"encoding":"pcm16 "',
        '"encoding":"pcm_s16be"', '"sample_rate":8000,"encoding":"mp3"',
    )
)  # fmt: skip


def refusals() -> dict[str, SocketCase]:
    def still(case: SocketCase) -> SocketCase:
        """The socket still speaks, and its utterances are still numbered from 1."""
        case.speak("Hello").begin(1).segment(1, 0, 0, "Hello").audio(1, 0, 4, is_final=True).complete(1)
        return case.expect(lit(1, 0, 0, "Hello"), sent(0, 4, True), DONE)

    def started(note: str) -> SocketCase:
        return SocketCase(note).start(segments=True)

    flat = [json.dumps({"type": kind}) for kind in ("flush", "end", "stop")]
    texts = [json.dumps({"type": kind, "text": "Hello"}) for kind in ("speak", "text")]
    early = SocketCase("nothing goes before `start`, and one start is enough")
    early.refuses("not_started", *flat, *texts, '{"type": "stop", "played_ms": 1}').start(segments=True)
    for members in ({}, {"sample_rate": 8000, "encoding": "alaw", "binary": True}):
        early.client("start", **members).expect(refused("already_started"))
    bad_start = SocketCase("a start that is refused may be followed by another one")
    bad_start.refuses("bad_message", *_BAD_STARTS).refuses("unsupported_format", *_UNSUPPORTED)
    bad_start.refuses("not_started", *texts).start(segments=True)

    deep = started("deeply nested")
    deep.raw(("[", 30_000), ("]", 30_000)).expect(refused("bad_message"))
    deep.raw('{"type":"speak","text":', ('{"a":', 8_000), "1", ("}", 8_001)).expect(refused("bad_message"))
    deep.raw(("[", 60_000)).expect(refused("bad_message"))

    begin, close = '{"type":"start","segments":true,"more":"', '"}'
    fits = MAX_BYTES - len(begin) - len(close)
    sizes = SocketCase("a message of 65,536 bytes is read, a larger one is refused")
    sizes.raw(begin, ("a", fits + 1), close).expect(refused("bad_message"))
    sizes.raw(begin, ("ü", fits // 2 + 1), close).expect(refused("bad_message"))
    sizes.raw(("a", MAX_FRAME_BYTES)).expect(refused("bad_message"))
    sizes.raw(begin, ("a", fits), close).expect({"type": "ready"})

    binary = started("a binary frame is no message")
    for data in (b"", b"\x00", b'{"type":"stop"}'):
        binary.binary(data).expect(refused("bad_message"))

    many = SocketCase(
        "too many unanswered utterances: the one that is refused has a number, and an open text is closed"
    )
    many.start(segments=True).speak(*(f"Text {number}." for number in range(1, N_UNFINISHED + 1)))
    many.client("speak", text="Too many.").expect(refused("unavailable"))
    many.client("text", text="Too ").expect(refused("unavailable")).client("text", text="many.").client("flush")
    many.client("end").client("end").expect(refused("bad_message"))
    many.spoken(1).expect(sent(0, 4, True), DONE).client("speak", text="Again.").job(N_UNFINISHED + 1, text="Again.")
    for number in range(2, N_UNFINISHED + 1):
        many.cancelled(number).expect(DONE | {"cancelled": True})
    many.begin(N_UNFINISHED + 1).segment(N_UNFINISHED + 1, 0, 0, "Again.").expect(lit(N_UNFINISHED + 3, 0, 0, "Again."))

    speaking = started("a refusal disturbs nothing that is being spoken").speak("Hello", "there")
    speaking.begin(1).segment(1, 0, 0, "Hello there.").audio(1, 0, 24)
    speaking.expect(lit(1, 0, 0, "Hello there."), sent(0, 24))
    speaking.refuses("bad_message", *_NOT_JSON[:3], '{"type":"stop","played_ms":-1}', '{"type":"speak"}').binary(
        b"\x00"
    )
    speaking.expect(refused("bad_message")).client("start").expect(refused("already_started"))
    speaking.audio(1, 24, 24, is_final=True).complete(1).expect(sent(24, 24, True), DONE)
    speaking.client("stop", played_ms=1.5).expect(heard(1, "Hello", True)).cut(2).cancelled(2)
    speaking.expect(DONE | {"cancelled": True})
    return {
        "before_start": still(early),
        "bad_start": still(bad_start),
        "not_json": still(started("no JSON").refuses("bad_message", *_NOT_JSON)),
        "no_object": still(started("JSON, but no object").refuses("bad_message", *_NO_OBJECT)),
        "no_type": still(started("no type, or an unknown one").refuses("bad_message", *_NO_TYPE)),
        "bad_members": still(started("members missing or of another type").refuses("bad_message", *_BAD_MEMBERS)),
        "deep": still(deep),
        "sizes": still(sizes),
        "binary_frame": still(binary),
        "too_many": many,
        "refused_while_speaking": speaking,
        "too_large": started("a message of more than 1 MiB closes the socket")
        .raw(("a", MAX_FRAME_BYTES + 1)).closed(1009),
    }  # fmt: skip
