"""Exceptions of the check: jobs with damaged keys may fail, and jobs published again may end again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import redis

from tests.chaos.check import Aftermath, read_letters
from tests.chaos.ledger import Excepted
from tests.chaos.stage import CHUNK, Stage, good
from worker.stream.keys import Keys

KEYS = Keys()


def test_a_job_whose_own_keys_were_damaged_may_end_in_an_error_and_its_neighbours_may_not() -> None:
    stage = good()
    for job in ("f", "g"):
        stage.publish(job)
        stage.begin(job)
        stage.error(job, "internal")
    stage.ledger.let_fail("f", Excepted("its gate"))
    found = stage.check()
    assert found.violations == ["lost: s g: ended by an error, internal: publish it anew"]
    assert found.excepted == ["s f: ended by an error, internal: publish it anew (its gate)"]


def test_a_job_that_may_fail_must_end_nevertheless_and_say_nothing_wrong() -> None:
    stage = good()
    stage.ledger.let_fail("a", Excepted("its gate"))
    assert stage.check().excepted == []
    stage.alter("a audio 1", data=bytes([8]) + CHUNK[1][1:])
    assert [sentence.split(":")[0] for sentence in stage.check().violations] == ["wrong"]
    stage.drop("a complete 0")
    assert [sentence.split(":")[0] for sentence in stage.check().violations] == ["lost", "wrong", "broken"]
    stage.ledger.let_fail("a", Excepted("its end field", may_vanish=True))
    found = stage.check()
    assert [sentence.split(":")[0] for sentence in found.violations] == ["wrong"]
    assert found.excepted == ["s a: was settled without a word (its gate and its end field)"]


def test_a_job_that_may_fail_may_be_a_dead_letter_without_an_end_and_its_neighbour_may_not() -> None:
    stage = good()
    stage.publish("f", "g")
    stage.ledger.let_fail("f", Excepted("its cut key"))
    found = stage.check(Aftermath({"f": "session_unwritable", "g": "session_unwritable"}))
    assert found.violations == ["lost: s g: has not ended; 0 begins and 0 chunks were heard of it"]
    assert found.excepted == ["s f: is a dead letter, session_unwritable (its cut key)"]


def test_the_next_job_may_begin_when_one_has_vanished_and_not_before_one_has_ended() -> None:
    stage = good()
    stage.publish("f", "g")
    stage.begin("f")
    stage.begin("g")
    stage.audio("g", 0, 0, is_final=True)
    stage.complete("g")
    stage.ledger.let_fail("f", Excepted("its gate"))
    assert "broken: s g: begin at 1120-0 while f is spoken" in stage.check().violations
    assert stage.check(Aftermath({"f": "session_unwritable"})).violations == []
    stage.ledger.let_fail("f", Excepted("its end field", may_vanish=True))
    assert stage.check().violations == []


def test_a_job_that_was_published_again_is_answered_by_a_copy_of_its_end_for_each_entry() -> None:
    def repeat(stage: Stage, entry_id: bytes, **changes: Any) -> None:
        stage.complete("d")
        [last] = [name for name in stage.entries if name.startswith("d complete")][-1:]
        stage.alter(last, entry=entry_id, id=b"%d-0" % (2000 + len(stage.entries)), **changes)

    def published(n_sent: int) -> Stage:
        stage = good()
        stage.ledger.jobs = [replace(job, n_sent=n_sent if job.job_id == "d" else 1) for job in stage.ledger.jobs]
        repeat(stage, b"7-0")
        return stage

    found = published(3).check()
    assert (found.violations, found.repeated) == ([], 1)
    assert [sentence.split(":")[0] for sentence in published(1).check().duplicated] == ["s d"]
    for entry_id, changes in ((b"7-0", {}), (b"4-0", {}), (b"8-0", {"samples": 1})):
        stage = published(5)
        repeat(stage, entry_id, **changes)
        assert stage.check().duplicated, "the same entry is not answered twice, nor in other words"


def test_a_job_may_be_overtaken_only_where_the_driver_deleted_who_waits() -> None:
    stage = good()
    stage.publish("f", "g")
    for job in ("g", "f"):
        stage.begin(job)
        stage.audio(job, 0, 0, is_final=True)
        stage.complete(job)
    assert stage.check().violations == ["broken: s f: is heard after g, which was published after it"]
    stage.ledger.unordered.add("s")
    found = stage.check()
    assert found.violations == []
    assert found.excepted_orders == ["s f: is heard after g, which was published after it"]


def test_of_a_spoilt_job_only_its_end_is_looked_for_and_its_neighbours_are_judged_as_ever() -> None:
    stage = good()
    stage.ledger.let_fail("a", Excepted("its audio key", is_spoilt=True))
    stage.drop("a audio 0", "a begin 0")
    assert stage.check().violations == ["lost: s a: has neither an end nor a dead letter (its audio key)"]
    recorded = {"s": [(stream_id, raw, 0.0) for stream_id, raw in stage.entries.values()]}
    for aftermath, end in (
        (Aftermath({"a": "session_unwritable"}), "is a dead letter, session_unwritable"),
        (Aftermath({}, recorded), "ended as complete"),
    ):
        found = stage.check(aftermath)
        assert found.violations == []
        assert found.excepted == [f"s a: {end} (its audio key)"]
    stage.drop("d complete 0", "c cancelled 0")
    said = stage.check(Aftermath({"a": "session_unwritable", "d": "x"})).lost
    assert [sentence.split(":")[0] for sentence in said] == ["s c", "s d"]


def test_a_spoilt_job_whose_stream_was_taken_away_may_vanish() -> None:
    stage = good()
    stage.ledger.let_fail("a", Excepted("its audio key", is_spoilt=True, may_vanish=True))
    stage.drop(*[name for name in stage.entries if name.startswith("a ")])
    found = stage.check()
    assert found.violations == []
    assert found.excepted == ["s a: was settled without a word (its audio key)"]


def test_what_the_driver_wrote_itself_is_nobodys_violation() -> None:
    stage = good()
    stage.entries["last"] = (b"9999-0", {b"type": b"audio", b"data": b"\xc1", b"odd": b"1"})
    assert stage.check().violations == []


def test_dead_letters_are_read_wherever_they_were_put(valkey: redis.Redis) -> None:
    valkey.xadd(KEYS.dead, {"job_id": "a", "dead_reason": "worker_lost"})
    valkey.xadd(f"{KEYS.prefix}:{{speak}}:aside:5:dead", {"job_id": "b", "dead_reason": "expired"})
    valkey.set(f"{KEYS.prefix}:{{speak}}:kept:1:dead", "odd")
    valkey.xadd(KEYS.bell, {"job_id": "c", "dead_reason": "none"})
    assert set(read_letters(valkey, KEYS)) == {"a", "b"}
    valkey.flushall()


UNFINISHED, FINISHED = {b"text": b"Hello."}, {b"text": b"Hello.", b"end": b"1"}


def test_a_text_without_an_end_stalls_and_one_with_an_end_does_not() -> None:
    stage = good()
    for job, piece in (("f", UNFINISHED), ("g", FINISHED)):
        stage.publish_open(job, piece)
        stage.begin(job)
        stage.audio(job, 0, 0)
        stage.error(job, "text_stalled")
    found = stage.check()
    assert found.violations == ["lost: s g: ended by an error, text_stalled: publish it anew"]
    assert (found.n_open, found.n_stalled, found.excepted) == (2, 1, [])
    stage.alter("f audio 0", data=bytes([8]) + CHUNK[0][1:])
    assert [sentence.split(":")[0] for sentence in stage.check().wrong] == ["s f"], (
        "what was spoken is right nevertheless"
    )


def test_a_text_without_an_end_is_not_complete() -> None:
    stage = good()
    stage.publish_open("f", UNFINISHED)
    stage.begin("f")
    stage.audio("f", 0, 0, is_final=True)
    stage.complete("f")
    assert stage.check().violations == ["broken: s f: is complete, and its text never ended"]


def test_a_text_that_came_late_may_have_stalled() -> None:
    stage = good()
    stage.publish_open("f", UNFINISHED, {b"end": b"1"})
    writing = stage.ledger.jobs[-1].writing
    assert writing is not None
    writing.acknowledged[1] = ({b"end": b"1"}, 60.0, 60.1)
    stage.begin("f")
    stage.error("f", "text_stalled")
    assert stage.check().violations == []
