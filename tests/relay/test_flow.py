"""How a relay holds back, waits and gives up, beside a scripted worker."""

from __future__ import annotations

import asyncio
import os
import time

import pytest
import redis

from tests.conftest import eventually
from tests.relay.callers import Caller, started
from tests.relay.conftest import Start
from tests.relay.relays import Relay
from tests.relay.scripted import ScriptedWorker
from worker.stream.keys import Keys

SECOND = bytes(range(240)) * 200  # of pcm_s16le at 24 kHz


async def finished(worker: ScriptedWorker, caller: Caller, number: int) -> None:
    await caller.send("speak", text="Hello there.")
    await worker.job(number)
    worker.speak(number, b"abcd")
    assert (await caller.utterance()).whole() == b"abcd"


async def test_audio_is_sent_at_most_so_far_ahead_of_a_listener_who_plays_it(
    start: Start, redis_url: str, valkey: redis.Redis
) -> None:
    relay = start(redis_url=redis_url, pace_ahead_ms=1000)
    async with started(relay.url) as caller:
        worker = ScriptedWorker(valkey, caller.session_id)
        await caller.send("speak", text="Five seconds.")
        await worker.job(1)
        worker.begin(1)
        for tenth in range(50):
            worker.audio(1, 2400 * tenth, SECOND[:4800], is_final=tenth == 49)
        worker.complete(1, 120_000)
        heard = await caller.first_chunk()
        begun_s = time.monotonic()
        while not heard.answer:
            heard.take(await caller.receive())
            ahead_s = len(heard.samples) / 48_000 - (time.monotonic() - begun_s)
            assert ahead_s < 2.0, "1 s ahead, and what the first chunk was late by"
        assert heard.whole() == SECOND[:4800] * 50
        assert time.monotonic() - begun_s > 2.0
        await caller.send("speak", text="Ten seconds.")
        await worker.job(2)
        worker.begin(2)
        for second in range(10):
            worker.audio(2, 24_000 * second, SECOND)
        heard = await caller.first_chunk()
        await caller.send("stop")
        while not heard.n_final:
            heard.take(await caller.receive())
        assert len(heard.samples) <= 4 * len(SECOND), "the rest waits in Redis"
        await worker.cut(2)
        worker.complete(2)
        assert (await caller.utterance(heard)).answer["cancelled"] is True
        await finished(worker, caller, 3)


async def test_a_socket_that_does_not_read_delays_no_other_and_loses_nothing(
    start: Start, redis_url: str, valkey: redis.Redis
) -> None:
    relay = start(redis_url=redis_url, pace_ahead_ms=0, own_connections=0)
    n_entries, chunk = 120, SECOND * 5
    async with started(relay.url) as slow, started(relay.url) as fast:
        worker, other = ScriptedWorker(valkey, slow.session_id), ScriptedWorker(valkey, fast.session_id)
        await slow.send("speak", text="A long text.")
        await worker.job(1)
        worker.begin(1)
        for number in range(n_entries):
            worker.audio(1, number * len(chunk) // 2, chunk, is_final=number == n_entries - 1)
            if number % 20 == 0:
                await finished(other, fast, number // 20 + 1)
        worker.complete(1)
        await finished(other, fast, n_entries // 20 + 1)
        assert (await slow.utterance()).whole() == chunk * n_entries


async def test_a_relay_gives_up_where_nobody_answers(start: Start, redis_url: str, valkey: redis.Redis) -> None:
    """After ttl_ms and 15 s. The socket that a worker serves is not given up."""
    relay = start(redis_url=redis_url, ttl_ms=1)
    async with started(relay.url) as silent, started(relay.url) as open_text, started(relay.url) as served:
        await silent.send("speak", text="Hello there.")
        await silent.send("speak", text="How are you?")
        await open_text.send("text", text="Hello there.")
        worker = ScriptedWorker(valkey, served.session_id)
        await served.send("speak", text="Hello there.")
        await worker.job(1)
        worker.begin(1)
        worker.audio(1, 0, b"ab")
        begun_s = time.monotonic()
        answers = await asyncio.gather(*(caller.utterance() for caller in (silent, open_text)))
        assert [it.answer.get("code") for it in answers] == ["no_answer", "no_answer"]
        assert time.monotonic() - begun_s > 10
        worker.audio(1, 1, b"cd", is_final=True)
        worker.complete(1)
        assert (await served.utterance()).whole() == b"abcd"
        assert (await silent.utterance()).answer.get("code") == "no_answer"
        late = ScriptedWorker(valkey, silent.session_id)
        await late.job(2)
        await late.cut(2)
        late.speak(1, b"late")  # what was given up is skipped when it comes after all
        late.complete(2)
        await finished(late, silent, 3)


@pytest.mark.parametrize("is_followed", [True, False])
async def test_a_text_that_redis_refuses_is_answered_and_its_job_cancelled(
    is_followed: bool, relay: Relay, valkey: redis.Redis
) -> None:
    """Once it begins; or when the jobs before it have ended, for nothing is read of the session then."""
    async with started(relay.url) as caller:
        worker = ScriptedWorker(valkey, caller.session_id)
        await caller.send("speak", text="Hello there.")
        await caller.send("text", text="Never ")
        key = Keys().text(caller.session_id, (await worker.job(2))["job_id"])
        await worker.text(2, [{"text": "Never "}])
        valkey.delete(key)
        valkey.set(key, "another program's", ex=60)
        await caller.send("text", text="heard.")
        assert (await caller.utterance()).answer["code"] == "unavailable"
        if is_followed:
            await caller.send("speak", text="How are you?")
            await worker.job(3)
        worker.speak(1, b"abcd")
        assert (await caller.utterance()).whole() == b"abcd"
        if not is_followed:
            await eventually(lambda: worker.is_cut(2))
            return
        worker.begin(2)
        await worker.cut(2)
        worker.complete(2)
        worker.speak(3, b"efgh")
        assert (await caller.utterance()).whole() == b"efgh"


@pytest.mark.slow
@pytest.mark.skipif(os.environ.get("SLOW") != "1", reason="waits for more than a minute: set SLOW=1 to run it")
async def test_a_client_that_takes_nothing_for_a_minute_is_closed(
    start: Start, redis_url: str, valkey: redis.Redis
) -> None:
    relay = start(redis_url=redis_url, pace_ahead_ms=0)
    async with started(relay.url) as caller:
        worker = ScriptedWorker(valkey, caller.session_id)
        await caller.send("speak", text="A long text.")
        await worker.job(1)
        worker.begin(1)
        for number in range(120):
            worker.audio(1, number * 5 * 24_000, SECOND * 5)
        begun_s = time.monotonic()
        await worker.cut(1, within_s=120)
        assert time.monotonic() - begun_s > 50
        assert await caller.status() in (1008, None)  # the frame comes behind the audio that nobody took
