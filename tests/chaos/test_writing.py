"""Open texts: what their producers write, through outages and repetitions, and what is known of it afterwards."""

from __future__ import annotations

import random
import time
from typing import Any, cast

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.load import ENGLISH, JAPANESE
from tests.chaos.patience import PatientRedis
from tests.chaos.scribe import Scribe, lost_pieces
from tests.chaos.setups import Setup
from tests.chaos.writing import AFTER_END, Fields, Piece, Script, Writing, draw_script
from tests.conftest import Server
from worker.stream.keys import Keys

KEY = Keys().text("s", "j")
N_DRAWN = 300
WAIT_S = 4.0


@pytest.fixture
def valkey_server(servers: dict[str, Server]) -> Server:
    """One server will do."""
    return servers["valkey"]


class _Setup:
    """One healthy server. n_refused: how many more clients find it away."""

    writes_may_be_lost = False

    def __init__(self, url: str) -> None:
        self._url = url

    def client(self) -> redis.Redis:
        return PatientRedis.from_url(self._url, protocol=2)


@pytest.fixture
def setup(valkey_server: Server) -> Setup:
    return cast(Setup, _Setup(valkey_server.url))


def _written(*entries: Fields) -> Writing:
    """Written in this moment, one a second."""
    pieces = [Piece(0.0, fields) for fields in entries]
    times = [(fields, float(n), n + 0.1) for n, fields in enumerate(entries)]
    return Writing(Script(pieces, 0), 0.0, times)


def _whole(script: Script) -> Writing:
    return _written(*(piece.fields for piece in script.pieces))


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60), st.integers())
def test_however_a_text_is_cut_its_pieces_are_the_text(text: str, seed: int) -> None:
    writing = _whole(draw_script(random.Random(seed), text))
    written = "".join(writing.parts)
    assert writing.is_bad or written == (text if writing.has_ended else text[: len(written)])


def test_the_texts_of_a_run_are_of_every_kind() -> None:
    draw = random.Random(1)
    texts = [draw.choice([*ENGLISH, *JAPANESE]) for _ in range(N_DRAWN)]
    drawn = [(text, draw_script(draw, text)) for text in texts]
    written = [_whole(script) for _, script in drawn]
    kinds: dict[str, Any] = {
        "cut within a character": any(not _is_text(piece.fields) for _, one in drawn for piece in one.pieces),
        "flushed": any(len(one.parts) > 1 for one in written),
        "without an end": any(not one.has_ended for one in written),
        "bad": any(one.is_bad for one in written),
        "after the end": any(one.pieces[-1].fields in AFTER_END[1:] for _, one in drawn if one.pieces),
        "written before the job": any(one.n_before == len(one.pieces) for _, one in drawn),
        "end with the last piece": any({b"text", b"end"} <= set(p.fields) for _, one in drawn for p in one.pieces),
        "not replicated": any(not one.waits for _, one in drawn),
    }
    assert [kind for kind, is_there in kinds.items() if not is_there] == []
    assert all(one.n_before <= len(one.pieces) for _, one in drawn)


def _is_text(fields: Fields) -> bool:
    try:
        fields.get(b"text", b"").decode()
    except UnicodeDecodeError:
        return False
    return True


def test_what_comes_after_an_end_does_not_count() -> None:
    writing = _written(
        {b"text": b"a"}, {b"flush": b"1"}, {b"text": b"b", b"end": b"1"}, {b"text": b"\xff"}, {b"end": b"2"}
    )
    assert (writing.parts, writing.is_bad, writing.has_ended) == (("a", "b"), False, True)


def test_half_a_character_at_which_a_producer_died_is_no_text() -> None:
    assert _written({b"text": "aé".encode()[:2]}).parts == ("a",)


def test_a_text_may_stall_without_an_end_or_where_a_piece_came_late() -> None:
    assert _written({b"text": b"a"}).may_stall(WAIT_S)
    writing = _written({b"text": b"a"}, {b"text": b"b", b"end": b"1"})
    assert not writing.may_stall(WAIT_S)
    assert writing.may_stall(1.0)
    writing.began_s -= WAIT_S
    assert writing.may_stall(WAIT_S), "its first piece came late"


def test_all_pieces_are_written_in_their_order_and_what_precedes_the_job_at_once(
    valkey: redis.Redis, setup: Setup
) -> None:
    script = draw_script(random.Random(4), ENGLISH[3])
    script = Script([Piece(0.001, piece.fields) for piece in script.pieces], 1)
    writing = Writing(script, time.monotonic())
    with Scribe(setup) as scribe:
        scribe.begin(KEY, writing)
        assert valkey.xlen(KEY) == 1
        scribe.go_on(KEY, writing)
    written: Any = valkey.xrange(KEY)
    assert [fields for _, fields in written] == [piece.fields for piece in script.pieces]
    assert not lost_pieces(valkey, KEY, writing)
    assert valkey.ttl(KEY) > 0


def test_a_piece_that_is_sent_again_stands_there_once(valkey: redis.Redis, setup: Setup) -> None:
    """As after a lost reply."""
    valkey.xadd(KEY, {"text": "a"}, id="1-0")
    writing = Writing(Script([Piece(0.0, {b"text": b"a"}), Piece(0.0, {b"end": b"1"})], 0))
    with Scribe(setup) as scribe:
        scribe.go_on(KEY, writing)
    assert valkey.xlen(KEY) == 2
    assert len(writing.acknowledged) == 2


def test_a_stream_that_is_gone_is_written_again(valkey: redis.Redis, setup: Setup) -> None:
    entries: list[Fields] = [{b"text": b"a"}, {b"text": b"b"}, {b"end": b"1"}]
    writing = Writing(Script([Piece(0.0, fields) for fields in entries], 2))
    with Scribe(setup) as scribe:
        scribe.begin(KEY, writing)
        valkey.delete(KEY)
        scribe.go_on(KEY, writing)
    assert valkey.xrange(KEY) == [(b"%d-0" % (n + 1), fields) for n, fields in enumerate(entries)]


def test_a_producer_gives_up_where_its_key_is_no_stream(valkey: redis.Redis, setup: Setup) -> None:
    valkey.set(KEY, "odd", ex=60)
    writing = Writing(Script([Piece(0.0, {b"text": b"a"})], 0))
    with Scribe(setup) as scribe:
        scribe.go_on(KEY, writing)
    assert writing.acknowledged == []
    assert lost_pieces(valkey, KEY, writing)


def test_what_redis_has_not_of_what_it_acknowledged_is_lost(valkey: redis.Redis) -> None:
    writing = _written({b"text": b"a"}, {b"end": b"1"})
    valkey.xadd(KEY, {"text": "a"})
    valkey.expire(KEY, 60)
    assert lost_pieces(valkey, KEY, writing)
    valkey.xadd(KEY, {"end": "1"})
    assert not lost_pieces(valkey, KEY, writing)
