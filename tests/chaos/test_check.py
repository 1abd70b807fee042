"""The check finds every kind of violation in a made-up session, and nothing in one that is right."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from schemas.messages import SegmentStart
from schemas.wire import pack_codes
from tests.chaos.check import check
from tests.chaos.ledger import Published
from tests.chaos.stage import CHUNK, Spoken, Stage, good


def test_nothing_is_found_in_a_session_that_is_right() -> None:
    found = good().check()
    assert found.violations == []
    assert (found.n_sessions, found.n_jobs, found.n_complete, found.n_cancelled, found.n_refused) == (1, 5, 2, 2, 1)
    assert (found.takeovers, found.reopened) == (1, 1)


def test_a_begin_repeated_after_a_lost_reply_is_no_take_over() -> None:
    stage = Stage()
    stage.publish("a")
    for _ in range(2):
        stage.begin("a")
    stage.audio("a", 0, 0)
    stage.begin("a")
    stage.audio("a", 0, 2, is_final=True)
    stage.complete("a")
    found = stage.check()
    assert found.violations == []
    assert (found.takeovers, found.reopened) == (1, 1)


def _publish_and_begin(*jobs: str) -> Callable[[Stage], None]:
    def spoil(stage: Stage) -> None:
        stage.publish(*jobs)
        for job in jobs:
            stage.begin(job)

    return spoil


def _speak(*jobs: str) -> Callable[[Stage], None]:
    def spoil(stage: Stage) -> None:
        stage.publish(*sorted(jobs))
        for job in jobs:
            stage.begin(job)
            stage.audio(job, 0, 0, is_final=True)
            stage.complete(job)

    return spoil


def _lose_the_worker(stage: Stage) -> None:
    _publish_and_begin("f")(stage)
    stage.error("f", "worker_lost")


def _refuse_with_another_code(stage: Stage) -> None:
    stage.drop("e error 0")
    stage.error("e", "internal", opens=True)


def _speak_what_was_to_be_refused(stage: Stage) -> None:
    stage.drop("e error 0")
    stage.begin("e")
    stage.audio("e", 0, 0, is_final=True)
    stage.complete("e")


def _go_on_after_the_final_chunk(stage: Stage) -> None:
    _publish_and_begin("f")(stage)
    for first_frame in (0, 2):
        stage.audio("f", 0, first_frame, is_final=True)
    stage.complete("f")


def _begin_what_is_cancelled(stage: Stage) -> None:
    stage.publish("f")
    stage.cancel("6-0")
    stage.begin("f")


def _go_back_to_a_segment(stage: Stage) -> None:
    _publish_and_begin("f")(stage)
    stage.audio("f", 1, 0)
    stage.audio("f", 0, 0)


def _without_codes(stage: Stage) -> None:
    del stage.entries["a audio 1"][1][b"codes"]


def _say_nothing(finish: str = "silent", n_chunks: int = 1) -> Callable[[Stage], None]:
    def spoil(stage: Stage) -> None:
        _publish_and_begin("f")(stage)
        for n in range(n_chunks):
            stage.silence("f", is_final=n == n_chunks - 1)
        stage.complete("f")
        stage.alter("f complete 0", finish=finish)

    return spoil


def test_nothing_is_found_in_a_job_with_nothing_to_speak() -> None:
    stage = good()
    _say_nothing()(stage)
    assert stage.check().violations == []


def test_how_far_ahead_a_worker_is_begins_anew_with_each_attempt() -> None:
    stage = good()
    _write_four_seconds_at_once(stage, attempt=2)
    found = stage.check()
    assert (found.ahead, found.takeovers_of_held) == ([], 1)


def test_a_worker_on_which_a_suspect_perhaps_waits_holds_no_speech() -> None:
    stage = good()
    _write_four_seconds_at_once(stage)
    stage.publish("g")
    stage.begin("g", attempt=3)
    found = stage.check()
    assert (found.ahead, found.n_hurried) == ([], 1)


def _add_to_the_body(stage: Stage) -> None:
    raw = stage.entries["a audio 1"][1]
    raw[b"data"] = bytes([raw[b"data"][0] + 1]) + raw[b"data"][1:] + b"\xa1x\x01"


def _write(**fields: bytes) -> Callable[[Stage], None]:
    raw = {name.encode(): value for name, value in fields.items()}
    return lambda stage: stage.entries.update(last=(b"9999-0", raw))


def _write_four_seconds_at_once(stage: Stage, attempt: int = 1) -> None:
    """And the next chunk a tenth of a second later, or the next attempt's."""
    stage.publish("f", ahead_ms="3000")
    stage.begin("f")
    stage.audio("f", 0, 0)
    if attempt > 1:
        stage.begin("f", attempt)
    stage.audio("f", 0, 2, is_final=True)
    stage.alter("f audio 0", data=bytes(192_000))


def _begin_a_segment_and(what: str) -> Callable[[Stage], None]:
    def spoil(stage: Stage) -> None:
        _publish_and_begin("f")(stage)
        stage.segment("f", 0, 0)
        if what == "end":
            stage.error("f", "internal")
        elif what == "begin anew":
            stage.begin("f", attempt=2)
        else:
            stage.write(SegmentStart(job_id="f", session_id="s", index=0, pos=0, text="Bye."))

    return spoil


RULES: list[tuple[str, str, Callable[[Stage], None]]] = [
    ("lost", "s a: has not ended; 2 begins and 4 chunks", lambda s: s.drop("a complete 0")),
    ("lost", "s c: has not ended; 0 begins and 0 chunks", lambda s: s.drop("c cancelled 0")),
    ("lost", "s b: cancelled at 1050-0, and nobody had cancelled 2-0", lambda s: s.ledger.cancels.clear()),
    ("lost", "s f: ended by an error, worker_lost", _lose_the_worker),
    ("duplicated", "s d: complete at 1100-1, after its end by complete", lambda s: s.complete("d")),
    ("duplicated", "s a: begins from its start at 1020-0, after 64 samples",
     lambda s: s.alter("a begin 1", resumed_at=0, resumed_by=None, delivered=b"0")),
    ("duplicated", "s a: chunk 0 comes again at 1010-3", lambda s: s.alter("a audio 1", seq=0)),
    ("duplicated", "s a: chunk 2 has codes of segment 0 from frame 2 on, after 4",
     lambda s: s.alter("a audio 2", codes=pack_codes(0, 2, CHUNK[2]))),
    ("gaps", "s a: chunk 2 has codes of segment 0 from frame 4 on, after 2",
     lambda s: s.alter("a audio 1", codes=pack_codes(0, 2, b""))),
    ("gaps", "s a: audio at 1010-4, after 1010-2", lambda s: s.alter("a audio 1", id=b"1010-4")),
    ("gaps", "s a: chunk 1 comes at 1010-3, not 0", lambda s: s.drop("a audio 0")),
    ("gaps", "s a: chunk 1 begins at 33, after 32 samples", lambda s: s.alter("a audio 1", pos=33)),
    ("gaps", "s a: chunk 1 says delivered 65, and ends at 64", lambda s: s.alter("a audio 1", delivered=b"65")),
    ("gaps", "s a: complete says 127 samples, delivered 128", lambda s: s.alter("a complete 0", samples=127)),
    ("gaps", "s a: complete says 128 samples, delivered 1,", lambda s: s.alter("a complete 0", delivered=b"1")),
    ("gaps", "s a: complete says 3 chunks, 4 were heard", lambda s: s.alter("a complete 0", chunks=3)),
    ("gaps", "s b: cancelled says 31 samples", lambda s: s.alter("b cancelled 0", samples=31)),
    ("gaps", "s e: error says 5 samples", lambda s: s.alter("e error 0", delivered=b"5")),
    ("gaps", "s a: complete comes after a chunk that was not", lambda s: s.alter("a audio 3", is_final=False)),
    ("gaps", "s f: chunk 1 comes after the final one", _go_on_after_the_final_chunk),
    ("wrong", "s a: 1 of 128 samples differ, from sample 32 to 32, by at most 1;",
     lambda s: s.alter("a audio 1", data=bytes([8]) + CHUNK[1][1:])),
    ("wrong", "s b: 1 of 32 samples differ", lambda s: s.alter("b audio 0", data=bytes([1]) + CHUNK[0][1:])),
    ("wrong", "s b: 33 samples were heard, undisturbed there are 32",
     lambda s: s.alter("b audio 0", data=CHUNK[0] + b"..")),
    ("wrong", "s e: was to be refused: text_empty", _refuse_with_another_code),
    ("wrong", "s e: was to be refused: text_empty", _speak_what_was_to_be_refused),
    ("broken", "s: 1010-3 comes after 1100-0", lambda s: s.entries.update(last=s.entries["a audio 1"])),
    ("broken", "s: 9999-0 cannot be read: not one msgpack map", _write(type=b"audio", data=b"\xc1")),
    ("broken", "s: 9999-0 is neither message nor cancel: 'news'", _write(type=b"news")),
    ("broken", "s: 9999-0 is neither message nor cancel: 'cancel'", _write(type=b"cancel", upto=b"all")),
    ("broken", "s: begin at 1110-0, of a job nobody published: f", lambda s: s.begin("f")),
    ("broken", "s a: 1010-3 names the session t", lambda s: s.alter("a audio 1", session_id="t")),
    ("broken", "s a: the body of 1010-3 is not written as the contract has it", _add_to_the_body),
    ("broken", "s a: 1010-3 is of 7-0, those before of 1-0", lambda s: s.alter("a audio 1", entry=b"7-0")),
    ("broken", "s g: begin at 1120-0 while f is spoken", _publish_and_begin("f", "g")),
    ("broken", "s f: is heard after g, which was published after it", _speak("g", "f")),
    ("broken", "s b: begins at 1030-1, and not with", lambda s: s.alter("b begin 0", id=b"1030-1")),
    ("broken", "s f: begins at 1120-0, after it was cancelled up to 6-0", _begin_what_is_cancelled),
    ("broken", "s a: begins at 1020-0 with resumed_at 63, delivered 64, after 64",
     lambda s: s.alter("a begin 1", resumed_at=63)),
    ("broken", "s a: begins at 1020-0 with resumed_at 64, delivered 63, after 64",
     lambda s: s.alter("a begin 1", delivered=b"63")),
    ("broken", "s a: begins at 1020-0, resumed_by None, not codes", lambda s: s.alter("a begin 1", resumed_by=None)),
    ("broken", "s a: begins at 1020-0, resumed_by regenerated, not codes",
     lambda s: s.alter("a begin 1", resumed_by="regenerated")),
    ("broken", "s a: begins at 1010-0 with {'voice': 'placeholder', 'encoding': 'mulaw'",
     lambda s: s.alter("a begin 0", encoding="mulaw")),
    ("broken", "s a: complete says finish silent, 128 samples", lambda s: s.alter("a complete 0", finish="silent")),
    ("broken", "s f: complete says finish stop, 0 samples in 1 chunks", _say_nothing("stop")),
    ("broken", "s f: complete says finish silent, 0 samples in 2 chunks", _say_nothing(n_chunks=2)),
    ("broken", "s a: complete says seed 8, not 7", lambda s: s.alter("a complete 0", seed=8)),
    ("broken", "s a: chunk 1 has 63 bytes: no whole samples", lambda s: s.alter("a audio 1", data=CHUNK[1][1:])),
    ("broken", "s a: the codes of chunk 1 cannot be read", _without_codes),
    ("broken", "s f: chunk 1 goes back to segment 0", _go_back_to_a_segment),
    ("broken", "s a: audio at 1010-2, outside of what its begin opened", lambda s: s.drop("a begin 0")),
    ("broken", "s b: cancelled at 1050-1, outside", lambda s: s.alter("b cancelled 0", id=b"1050-1")),
    ("broken", "s d: audio at 1090-1, outside of what its begin opened", lambda s: s.drop("d begin 1")),
    ("broken", "s a: audio at 1010-3 has no at", lambda s: s.alter("a audio 1", at=b"")),
    ("ahead", "s f: 1110-3 was written 3.90 s before its listener, of 3.0", _write_four_seconds_at_once),
    ("broken", "s a: segment 1 comes after 0 segments", lambda s: s.alter("a segment 0", index=1)),
    ("broken", "s a: segment 1 was to begin, and samples of segment 0 came", lambda s: s.alter("a segment 0", index=1)),
    ("broken", "s a: segment 0 is to begin at 1, after 0 samples", lambda s: s.alter("a segment 0", pos=1)),
    ("broken", "s a: segment 1 begins at 0, the one before at 0", lambda s: s.alter("a segment 1", pos=0)),
    ("broken", "s a: samples of segment 1 came, of 1 that have begun", lambda s: s.drop("a segment 1")),
    ("broken", "s f: segment 0 begins without samples", _begin_a_segment_and("end")),
    ("broken", "s f: segment 0 begins without samples", _begin_a_segment_and("begin anew")),
    ("broken", "s f: segment 0 is (0, 'Bye.') now, and was (0, 'Hello.')", _begin_a_segment_and("change it")),
    ("broken", "s a: complete says 'Hello.' was spoken, and the segments are 'Hello. And goodbye.'",
     lambda s: s.alter("a complete 0", text_spoken="Hello.")),
    ("broken", "s b: cancelled says 'Bye.' was spoken", lambda s: s.alter("b cancelled 0", text_spoken="Bye.")),
    ("wrong", "s d: segment 0 is (0, 'Hallo.'), undisturbed it is (0, 'Hello.')",
     lambda s: s.alter("d segment 0", text="Hallo.")),
    ("wrong", "s b: segment 0 is (0, 'Hallo.'), undisturbed it is (0, 'Hello.')",
     lambda s: s.alter("b segment 0", text="Hallo.")),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "says", "spoil"), RULES, ids=[f"{kind}: {says}" for kind, says, _ in RULES])
def test_a_broken_rule_is_found_and_said(kind: str, says: str, spoil: Callable[[Stage], None]) -> None:
    stage = good()
    spoil(stage)
    found = stage.check()
    assert any(sentence.startswith(says) for sentence in getattr(found, kind)), found.violations


@given(st.data())
def test_no_entry_can_be_dropped_or_changed_or_come_twice_or_in_another_place(data: st.DataObject) -> None:
    stage = good()
    # A cancel is a client's: whether and where it stands on the stream is its own affair.
    names = st.sampled_from([name for name in stage.entries if not name.startswith("cancel")])
    data.draw(st.sampled_from([_drop, _exchange, _repeat, _move, _flip_a_byte]))(stage, names, data)
    assert stage.check().violations


def _drop(stage: Stage, names: st.SearchStrategy[str], data: st.DataObject) -> None:
    stage.drop(data.draw(names))


def _exchange(stage: Stage, names: st.SearchStrategy[str], data: st.DataObject) -> None:
    one, other = data.draw(names), data.draw(names)
    assume(one != other)
    stage.swap(one, other)


def _repeat(stage: Stage, names: st.SearchStrategy[str], data: st.DataObject) -> None:
    """As the next entry of the stream, or as a new epoch's first."""
    last = data.draw(st.sampled_from([b"1100-1", b"1200-0"]))
    stage.entries["again"] = (last, stage.entries[data.draw(names)][1])


def _move(stage: Stage, names: st.SearchStrategy[str], data: st.DataObject) -> None:
    name = data.draw(names)
    before = data.draw(names)
    rest = [(key, entry) for key, entry in stage.entries.items() if key != name]
    assume(before != name)
    at = [key for key, _ in rest].index(before)
    moved = [*rest[:at], (name, stage.entries[name]), *rest[at:]]
    assume([key for key, _ in moved] != list(stage.entries))
    stage.entries = dict(moved)


def _flip_a_byte(stage: Stage, names: st.SearchStrategy[str], data: st.DataObject) -> None:
    name = data.draw(names.filter(lambda name: "audio" in name))
    stream_id, raw = stage.entries[name]
    key = data.draw(st.sampled_from(sorted(raw.keys() - {b"at"})))
    first = 2 if key == b"codes" else 0  # a segment of which nothing is heard leaves no trace
    at = data.draw(st.integers(first, len(raw[key]) - 1))
    flipped = bytearray(raw[key])
    flipped[at] ^= data.draw(st.integers(1, 255))
    stage.entries[name] = (stream_id, raw | {key: bytes(flipped)})


def test_of_a_session_whose_relay_left_jobs_may_be_missing_but_what_is_there_must_be_right() -> None:
    stage = good()
    stage.drop("a complete 0", "c cancelled 0")
    assert {sentence.split(":")[0] for sentence in stage.check().lost} == {"s a", "s c"}
    stage.ledger.left.add("s")
    assert not stage.check().lost
    stage.alter("d audio 0", data=bytes([1]) + CHUNK[0][1:])
    assert [sentence.split(":")[0] for sentence in stage.check().wrong] == ["s d"]


def test_sessions_are_apart() -> None:
    stage = good()
    stage.ledger.jobs.append(Published("t", "a", "1-1", {"session_id": "t", "job_id": "a", "text": "Hello."}, 0.0))
    read = {"s": list(stage.entries.values()), "t": []}
    found = check(stage.ledger, read.__getitem__, Spoken())
    assert found.violations == ["lost: t a: has not ended; 0 begins and 0 chunks were heard of it"]
    assert (found.n_sessions, found.n_jobs) == (2, 6)
