"""A worker that takes over reports its arithmetic, and whether its samples equal those of the worker before."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis

from schemas.messages import Begin
from schemas.wire import read_entry
from tests.conftest import Server, eventually, make_settings, running
from tests.flow.listening import KEYS, Heard, check_complete, read_session, until_ended
from tests.tone import ToneEngine
from worker.engine.base import Arithmetic
from worker.stream.client import Client

TEXT = "A sentence of some thirty frames, of which a few are heard."
ZEN = Arithmetic("tone float32 zen", is_exact=True)
LAKE = Arithmetic("tone float32 lake", is_exact=True)
GPU = Arithmetic("tone bfloat16 gpu", is_exact=False)


def computing(arithmetic: Arithmetic | None, has_codes: bool = True, frame_s: float = 0.02) -> ToneEngine:
    engine = ToneEngine(1, frame_s=frame_s, has_codes=has_codes)
    engine.arithmetic = arithmetic
    return engine


def so_far(valkey: redis.Redis) -> Heard:
    return next(iter(read_session(valkey, "s").values()), Heard())


async def handed_on(
    valkey: redis.Redis, server: Server, client: Client, engines: list[ToneEngine], trimmed_to: int | None = None
) -> list[Begin]:
    """The begins of an utterance of which each engine speaks a few chunks, and the last one the rest."""
    settings = make_settings(server.url, grace_s=0)
    await client.publish({"session_id": "s", "text": TEXT, "ttl_ms": "60000"})
    for engine in engines[:-1]:
        n = len(so_far(valkey).chunks)
        async with running(settings, engine) as worker:
            await eventually(lambda n=n: len(so_far(valkey).chunks) > n + 1, within_s=20)  # type: ignore[misc]
            worker.stop()
    if trimmed_to is not None:
        valkey.xtrim(KEYS.audio("s"), maxlen=trimmed_to, approximate=False)
    async with running(settings, engines[-1]):
        await until_ended(client, "s", within_s=30)
    if trimmed_to is None:
        check_complete(so_far(valkey))
    entries: Any = valkey.xrange(KEYS.audio("s"))
    messages = [read_entry(fields).message for _, fields in entries]
    return [message for message in messages if isinstance(message, Begin)]


async def test_an_utterance_of_one_worker_names_what_it_is_computed_on(
    valkey: redis.Redis, valkey_server: Server, client: Client
) -> None:
    (begin,) = await handed_on(valkey, valkey_server, client, [computing(ZEN, frame_s=0)])
    assert (begin.computed_on, begin.resumed_exactly) == ("tone float32 zen", None)


@pytest.mark.parametrize("has_codes", [True, False])
async def test_a_take_over_by_a_worker_that_computes_alike_is_exact(
    has_codes: bool, valkey: redis.Redis, valkey_server: Server, client: Client
) -> None:
    _, begin = await handed_on(valkey, valkey_server, client, [computing(ZEN, has_codes), computing(ZEN, has_codes)])
    assert begin.resumed_at > 0
    assert (begin.computed_on, begin.resumed_exactly) == (ZEN.name, True)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(ZEN, LAKE, id="another processor"),
        pytest.param(GPU, GPU, id="the same GPU, which promises nothing"),
        pytest.param(None, ZEN, id="after a worker that does not say"),
        pytest.param(ZEN, None, id="by a worker that does not say"),
    ],
)
async def test_a_take_over_that_promises_no_bits_says_so(
    before: Arithmetic | None, after: Arithmetic | None, valkey: redis.Redis, valkey_server: Server, client: Client
) -> None:
    first, second = await handed_on(valkey, valkey_server, client, [computing(before), computing(after)])
    assert second.resumed_at > 0
    assert first.computed_on == (before.name if before else None)
    assert second.computed_on == (after.name if after else None)
    assert second.resumed_exactly is False


async def test_one_unlike_attempt_in_between_is_remembered(
    valkey: redis.Redis, valkey_server: Server, client: Client
) -> None:
    begins = await handed_on(valkey, valkey_server, client, [computing(ZEN), computing(LAKE), computing(ZEN)])
    assert [begin.resumed_exactly for begin in begins] == [None, False, False]


async def test_where_the_first_begin_was_trimmed_away_nothing_is_promised(
    valkey: redis.Redis, valkey_server: Server, client: Client
) -> None:
    (begin,) = await handed_on(valkey, valkey_server, client, [computing(ZEN), computing(ZEN)], trimmed_to=1)
    assert (begin.resumed_by, begin.resumed_exactly) == ("regenerated", False)


async def test_the_list_of_workers_says_what_each_computes_on(valkey: redis.Redis, valkey_server: Server) -> None:
    async with running(make_settings(valkey_server.url), computing(ZEN)) as worker:

        def card() -> Any:
            return valkey.hget(KEYS.workers, worker.name)

        await eventually(lambda: card() is not None)
        assert json.loads(card())["computed_on"] == ZEN.name
