"""Golden sockets: whole conversations between a client, a relay and a worker. `golden_socket_case` lists the steps.

Samples are few, so that 1 ms of playing is 24 samples. What is received is written here by hand.
"""

from __future__ import annotations

from typing import Any

from schemas.golden_socket_case import Json, SocketCase, heard, lit, refused
from schemas.golden_socket_refusals import refusals
from schemas.golden_streams import CANCELLED, CLOSING, DONE, UNREADABLE, sent

N_REMEMBERED = 32
HELLO, HOW = "Hello there.", "How are you?"


def sockets() -> dict[str, Json]:
    """File name to JSON."""
    cases = _plain() | _stops() | _played() | _open_texts() | refusals()
    return {name: {"note": case.note, "steps": case.steps} for name, case in cases.items()}


def _frame(first: int, n: int) -> Json:
    return {"binary": {"base64": sent(first, n)["data"]}}


def _error(code: str, message: str) -> Json:
    return refused(code) | {"message": message}


def _plain() -> dict[str, SocketCase]:
    formats: dict[str, tuple[Json, Json]] = {
        "start_defaults": ({}, {"sample_rate": "24000", "encoding": "pcm_s16le"}),
        "start_nulls": (
            {"sample_rate": None, "encoding": None, "binary": None, "segments": None, "mood": {"is": ["calm"]}},
            {"sample_rate": "24000", "encoding": "pcm_s16le"},
        ),
        "start_pcm16": (
            {"sample_rate": 16000, "encoding": "pcm16"}, {"sample_rate": "16000", "encoding": "pcm_s16le"}
        ),
        "start_float": (
            {"sample_rate": 44100, "encoding": "pcm_f32le"}, {"sample_rate": "44100", "encoding": "pcm_f32le"}
        ),
        "start_mulaw": ({"sample_rate": 8000, "encoding": "mulaw"}, {"sample_rate": "8000", "encoding": "mulaw"}),
        "start_alaw": ({"sample_rate": 48000, "encoding": "alaw"}, {"sample_rate": "48000", "encoding": "alaw"}),
    }  # fmt: skip
    started = {
        name: SocketCase("the format of `start` is that of every job")
        .start(**members).client("speak", text=HELLO).job(1, text=HELLO, text_from=None, **fields)
        .begin(1, encoding=fields["encoding"], rate=int(fields["sample_rate"]))
        .audio(1, 0, 4, is_final=True).complete(1).expect(sent(0, 4, True), DONE)
        for name, (members, fields) in formats.items()
    }  # fmt: skip
    return started | {
        "old_client": SocketCase("a client of the first protocol: start, speak, speak, with their audio")
        .start(sample_rate=24000, encoding="pcm_s16le").speak(HELLO, HOW)
        .begin(1).segment(1, 0, 0, HELLO).audio(1, 0, 4).expect(sent(0, 4))
        .audio(1, 4, 4).audio(1, 8, 2, is_final=True).complete(1).expect(sent(4, 4), sent(8, 2, True), DONE)
        .begin(2).audio(2, 0, 3).audio(2, 3, 0, is_final=True).complete(2).expect(sent(0, 3), CLOSING, DONE),
        "texts": SocketCase("a text reaches the job as it is; members that are not listed are ignored")
        .start().speak("„Füße“ 今日は 😀 a\tb\n\\ \"quoted\"", "  blanks around  ")
        .client("speak", text=HOW, voice="mood", sample_rate=8000, mood=[[[{}]]])
        .job(3, text=HOW, sample_rate="24000", mood=None)
        .raw('\n {"text" : "\\ud83d\\ude00\\u00e9" , "type":"speak"}\r\n').job(4, text="😀é"),
        "binary": SocketCase("samples as binary frames, the final chunk as a message without samples")
        .start(binary=True).speak(HELLO, HOW)
        .begin(1).audio(1, 0, 4).audio(1, 4, 4, is_final=True).complete(1)
        .expect(_frame(0, 4), _frame(4, 4), CLOSING, DONE)
        .begin(2).audio(2, 0, 3).audio(2, 3, 0, is_final=True).complete(2).expect(_frame(0, 3), CLOSING, DONE)
        .speak(HELLO, first=3).begin(3).audio(3, 0, 4).expect(_frame(0, 4))
        .client("stop").expect(CLOSING).cut(3).cancelled(3).expect(CANCELLED)
        .speak(HELLO, first=4).begin(4).audio(4, 0, 4).expect(_frame(0, 4))
        .error(4, "engine_failed", "the engine failed").expect(CLOSING, _error("engine_failed", "the engine failed")),
        "segments": SocketCase("segments, where they are asked for; one is sent again with the same index")
        .start(segments=True).speak(HELLO, HOW)
        .begin(1).segment(1, 0, 0, "Hello").expect(lit(1, 0, 0, "Hello"))
        .begin(1, attempt=2).segment(1, 0, 0, HELLO).audio(1, 0, 4).segment(1, 1, 4, HOW).audio(1, 4, 4, is_final=True)
        .complete(1).expect(lit(1, 0, 0, HELLO), sent(0, 4), lit(1, 1, 4, HOW), sent(4, 4, True), DONE)
        .begin(2).segment(2, 0, 0, HOW).audio(2, 0, 4).expect(lit(2, 0, 0, HOW), sent(0, 4))
        .client("stop").expect(CLOSING).cut(2).cancelled(2).expect(CANCELLED),
        "take_over": SocketCase("another worker begins the job again: samples arrive once and in order")
        .start().speak(HELLO)
        .begin(1).audio(1, 0, 4).audio(1, 4, 4).expect(sent(0, 4), sent(4, 4))
        .begin(1, at=4, attempt=2).audio(1, 4, 6).expect(sent(8, 2))
        .begin(1, at=0, attempt=3).audio(1, 0, 4).audio(1, 4, 8).audio(1, 12, 0, is_final=True).complete(1)
        .expect(sent(10, 2), CLOSING, DONE),
        "not_ours": SocketCase("jobs of other programs on the session's stream are skipped")
        .start().speak(HELLO)
        .spoken(0).begin(1).audio(1, 0, 4).spoken(0).audio(1, 4, 4, is_final=True).complete(1)
        .expect(sent(0, 4), sent(4, 4, True), DONE),
        "silent": SocketCase("a text with nothing to speak")
        .start().speak("…").begin(1).audio(1, 0, 0, is_final=True).complete(1, "silent").expect(CLOSING, DONE),
        "failed": SocketCase("errors of the contract come through with their messages, also codes that are new")
        .start().speak(HELLO, HOW, HELLO, HOW)
        .error(1, "expired", "too late; add workers").expect(_error("expired", "too late; add workers"))
        .begin(2).audio(2, 0, 4).error(2, "worker_lost", "lost")
        .expect(sent(0, 4), CLOSING, _error("worker_lost", "lost"))
        .begin(3).error(3, "mood_failed", "calm down", is_retryable=False).expect(_error("mood_failed", "calm down"))
        .spoken(4).expect(sent(0, 4, True), DONE),
        "unreadable": SocketCase("an entry that cannot be read ends its job; the rest of that job is skipped")
        .start().speak(HELLO, HOW, HELLO)
        .begin(1).audio(1, 0, 4).unreadable(1, "audio").audio(1, 4, 4, is_final=True).complete(1)
        .expect(sent(0, 4), CLOSING, UNREADABLE)
        .unreadable(2, "mood").begin(2).unreadable(2, "complete", b"\x80").expect(UNREADABLE)
        .spoken(3).expect(sent(0, 4, True), DONE),
        "cancelled_by_another": SocketCase("another program cancels: silence, and the next utterance is heard")
        .start().speak(HELLO)
        .begin(1).audio(1, 0, 4).expect(sent(0, 4))
        .program_cancels(1).audio(1, 4, 4).cancelled(1).expect(CLOSING, CANCELLED)
        .speak(HOW, first=2).spoken(2).expect(sent(0, 4, True), DONE),
    }  # fmt: skip


def _stops() -> dict[str, SocketCase]:
    return {
        "stop": SocketCase("a stop silences what was sent before it, also what has not begun, and nothing after it")
        .start().speak(HELLO, HOW).begin(1).audio(1, 0, 4).expect(sent(0, 4))
        .client("stop").expect(CLOSING).client("speak", text="Again.").cut(2).job(3, text="Again.")
        .audio(1, 4, 4).cancelled(1).cancelled(2).expect(CANCELLED, CANCELLED)
        .spoken(3).expect(sent(0, 4, True), DONE),
        "stop_before_audio": SocketCase("before the first chunk no final chunk is owed")
        .start().speak(HELLO).begin(1).client("stop", played_ms=0).expect(heard(None, "", False)).cut(1)
        .audio(1, 0, 4).cancelled(1).expect(CANCELLED),
        "stop_twice": SocketCase("a second stop has nothing to silence")
        .start().speak(HELLO).begin(1).audio(1, 0, 4).expect(sent(0, 4))
        .client("stop").expect(CLOSING).client("stop").client("stop", played_ms=1).expect(heard(None, "", False))
        .cut(1).cancelled(1).expect(CANCELLED),
        "stop_too_late": SocketCase("the worker's end overtakes the stop: the utterance counts as cancelled")
        .start().speak(HELLO).begin(1).audio(1, 0, 4).expect(sent(0, 4))
        .client("stop").expect(CLOSING).cut(1).audio(1, 4, 4, is_final=True).complete(1).expect(CANCELLED),
        "stop_after_all": SocketCase("what was answered is not answered again")
        .start().client("stop").speak(HELLO).spoken(1).expect(sent(0, 4, True), DONE)
        .client("stop").speak(HOW, first=2).spoken(2).expect(sent(0, 4, True), DONE),
        "stop_then_error": SocketCase("a stopped utterance that fails is answered by its error")
        .start().speak(HELLO).begin(1).audio(1, 0, 4).expect(sent(0, 4))
        .client("stop").expect(CLOSING).cut(1).error(1, "internal", "broken").expect(_error("internal", "broken")),
    }  # fmt: skip


def _played() -> dict[str, SocketCase]:
    def whole(case: SocketCase, *utterances: tuple[int, str]) -> SocketCase:
        """Utterances of 24 samples each, received whole."""
        for number, text in utterances:
            case.speak(text, first=number).begin(number).segment(number, 0, 0, text)
            case.audio(number, 0, 24, is_final=True).complete(number).expect(sent(0, 24, True), DONE)
        return case

    between = SocketCase("played_ms counts over utterances, since the last stop").start()
    between.speak(HELLO, "Good morning.").begin(1).segment(1, 0, 0, HELLO).audio(1, 0, 24).segment(1, 1, 24, HOW)
    between.audio(1, 24, 24, is_final=True).complete(1).begin(2).segment(2, 0, 0, "Good morning.").audio(2, 0, 26)
    between.expect(sent(0, 24), sent(24, 24, True), DONE, sent(0, 26))
    between.client("stop", played_ms=2.5).expect(CLOSING, heard(2, "Good", True)).cut(2)
    between.cancelled(2).expect(CANCELLED)
    whole(between, (3, HELLO)).client("stop", played_ms=1).expect(heard(3, HELLO, False))
    between.client("stop", played_ms=0).expect(heard(None, "", False))
    whole(between, (4, HELLO), (5, HOW)).client("stop", played_ms=1.0).expect(heard(4, HELLO, False))
    whole(between, (6, HELLO)).client("stop").client("stop", played_ms=1).expect(heard(None, "", False))
    whole(between, (7, HELLO)).client("stop", played_ms=None)
    whole(between, (8, HELLO)).client("stop", played_ms=0.5).expect(heard(8, "Hello", True))

    more = whole(SocketCase("more played than was sent counts as all that was sent").start(), (1, HELLO), (2, HOW))
    more.client("stop", played_ms=86_400_000).expect(heard(2, HOW, False))
    whole(more, (3, HELLO)).raw('{"type": "stop", "played_ms": 1e308}').expect(heard(3, HELLO, False))

    failed = SocketCase("an utterance that failed was sent, too").start().speak(HELLO, HOW)
    failed.begin(1).segment(1, 0, 0, HELLO).audio(1, 0, 24).error(1, "internal", "broken")
    failed.expect(sent(0, 24), CLOSING, _error("internal", "broken")).begin(2).segment(2, 0, 0, HOW).audio(2, 0, 24)
    failed.expect(sent(0, 24)).client("stop", played_ms=1.5).expect(CLOSING, heard(2, "How", True))

    telephone = SocketCase("samples are counted at the rate of `start`").start(sample_rate=8000, encoding="mulaw")
    telephone.speak(HELLO).begin(1, encoding="mulaw", rate=8000).segment(1, 0, 0, HELLO).audio(1, 0, 12)
    telephone.expect(sent(0, 12)).client("stop", played_ms=1.5).expect(CLOSING, heard(1, "Hello", True))

    many = whole(
        SocketCase("utterances that are forgotten still count").start(), *((n, HOW) for n in range(1, N_REMEMBERED + 4))
    )
    many.client("stop", played_ms=N_REMEMBERED + 2.5).expect(heard(N_REMEMBERED + 3, "How", True))
    again = SocketCase("the later segment of one index holds").start().speak(HELLO).begin(1).segment(1, 0, 0, "Hello")
    again.begin(1, attempt=2).segment(1, 0, 0, HELLO).audio(1, 0, 24).expect(sent(0, 24))
    again.client("stop", played_ms=1).expect(CLOSING, heard(1, HELLO, True))
    cases = {"between": between, "more": more, "failed": failed, "telephone": telephone, "many": many, "again": again}
    return {f"played_{name}": case for name, case in cases.items()}


def _open_texts() -> dict[str, SocketCase]:
    flush, end = {"flush": True}, {"end": True}
    none: dict[str, Any] = {"text": None, "text_from": "stream"}
    return {
        "open_text": SocketCase("pieces of one text, an empty one, a flush; the next `text` opens the next utterance")
        .start(segments=True).client("text", text="Hel").job(1, **none).client("text", text="lo ")
        .pieces(1, "Hello ").begin(1).client("text", text="").client("text", text="there.").client("flush")
        .segment(1, 0, 0, HELLO).audio(1, 0, 4).expect(lit(1, 0, 0, HELLO), sent(0, 4))
        .client("text", text=HOW).client("end").pieces(1, HELLO, flush, HOW, end)
        .segment(1, 1, 4, HOW).audio(1, 4, 4, is_final=True).complete(1)
        .expect(lit(1, 1, 4, HOW), sent(4, 4, True), DONE)
        .client("text", text=HOW).client("end").job(2, **none).pieces(2, HOW, end).begin(2).segment(2, 0, 0, HOW)
        .audio(2, 0, 4, is_final=True).complete(2).expect(lit(2, 0, 0, HOW), sent(0, 4, True), DONE),
        "open_text_and_speak": SocketCase("a speak while a text is open is the next utterance")
        .start(segments=True).client("text", text=HELLO).job(1, **none).speak(HOW, first=2)
        .client("text", text="!").pieces(1, HELLO + "!").client("end").pieces(1, HELLO + "!", end)
        .spoken(1).expect(sent(0, 4, True), DONE)
        .begin(2).segment(2, 0, 0, HOW).audio(2, 0, 4, is_final=True).complete(2)
        .expect(lit(2, 0, 0, HOW), sent(0, 4, True), DONE),
        "open_text_failed": SocketCase("pieces behind the answer are dropped until `end`")
        .start(segments=True).client("text", text="Hello ").job(1, **none).begin(1)
        .error(1, "text_stalled", "no piece").expect(_error("text_stalled", "no piece"))
        .client("text", text="there").client("flush").client("text", text=".").client("end")
        .client("flush").expect(refused("bad_message")).pieces(1, "Hello ")
        .client("text", text=HOW).job(2, **none).pieces(2, HOW).begin(2).segment(2, 0, 0, HOW)
        .expect(lit(2, 0, 0, HOW)),
        "open_text_cancelled": SocketCase("a cancel by another program answers an open text; a stop closes it then")
        .start().client("text", text="Hello ").job(1, **none).begin(1).audio(1, 0, 4).expect(sent(0, 4))
        .program_cancels(1).cancelled(1).expect(CLOSING, CANCELLED)
        .client("text", text="there.").client("stop").client("end").expect(refused("bad_message"))
        .pieces(1, "Hello ").client("text", text=HOW).job(2, **none).pieces(2, HOW),
        "open_text_stopped": SocketCase("a stop closes the open text")
        .start(segments=True).client("text", text="Hello ").job(1, **none).pieces(1, "Hello ")
        .begin(1).segment(1, 0, 0, "Hello").audio(1, 0, 24).expect(lit(1, 0, 0, "Hello"), sent(0, 24))
        .client("stop", played_ms=1).expect(CLOSING, heard(1, "Hello", True))
        .client("flush").client("end").expect(refused("bad_message"), refused("bad_message")).cut(1)
        .client("text", text=HOW).job(2, **none).pieces(2, HOW).cancelled(1).expect(CANCELLED)
        .begin(2).segment(2, 0, 0, HOW).expect(lit(2, 0, 0, HOW)),
        "open_text_empty": SocketCase("an empty piece opens nothing")
        .start().client("text", text="").client("end").expect(refused("bad_message"))
        .client("text", text="").client("flush").expect(refused("bad_message"))
        .client("text", text=HOW).job(1, **none).client("end").pieces(1, HOW, end),
    }  # fmt: skip
