"""Relays beside real workers: every sample arrives once and in order, whatever breaks meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.relay.callers import CANCELLED, Caller, Utterance, started
from tests.relay.live import Stage, Undisturbed
from tests.relay.relays import Relay

N_CROWD, N_TEXTS = 50, 10
N_SOCKETS = 8
NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def long(number: int) -> str:
    return f"Caller {NUMBERS[number]} speaks slowly. It takes some seconds until this text comes to its end."


def short(number: int) -> str:
    return f"And {NUMBERS[number]} again."


async def test_fifty_sockets_at_once_receive_every_sample(live: Relay, undisturbed: Undisturbed) -> None:
    async def call(number: int) -> list[bytes]:
        async with started(live.url, binary=number % 2 == 0) as caller:
            for text in (short, short):
                await caller.send("speak", text=text(number % N_TEXTS))
            return [(await caller.utterance()).whole() for _ in range(2)]

    heard = await asyncio.gather(*(call(number) for number in range(N_CROWD)))
    for number, samples in enumerate(heard):
        assert samples == [await asyncio.to_thread(undisturbed, short(number % N_TEXTS))] * 2


async def test_a_stop_and_the_next_speak_in_one_breath(live: Relay, undisturbed: Undisturbed) -> None:
    """The stopped one is silent at once, the next one is whole; also where nothing was published yet."""
    async with started(live.url) as caller:
        for number in range(3):
            await caller.send("speak", text=long(number))
            await caller.send("speak", text=short(number))
            begun = await caller.first_chunk()
            await caller.send("stop")
            await caller.send("speak", text=short(number))
            assert (await caller.utterance(begun)).answer == CANCELLED
            dropped, heard = await caller.utterance(), await caller.utterance()
            assert (dropped.n_chunks, dropped.answer) == (0, CANCELLED)
            assert heard.whole() == await asyncio.to_thread(undisturbed, short(number))
        for number in range(5):
            await caller.send("speak", text=long(number))
            await caller.send("stop", played_ms=0)
            await caller.send("speak", text=short(number))
            assert (await caller.utterance()).answer == CANCELLED
            assert (await caller.utterance()).whole() == await asyncio.to_thread(undisturbed, short(number))


@pytest.mark.parametrize(
    ("text", "code"), [("", "text_empty"), (" \n ", "text_empty"), ("long " * 1001, "text_too_long")]
)
async def test_texts_that_a_worker_refuses(text: str, code: str, live: Relay) -> None:
    async with started(live.url) as caller:
        await caller.send("speak", text=text)
        refused = await caller.utterance()
        assert (refused.n_chunks, refused.answer["type"], refused.answer["code"]) == (0, "error", code)
        await caller.send("speak", text=":)")
        assert (await caller.utterance()).whole() == b""


def difference(found: bytes, wanted: bytes) -> str | None:
    """Where the samples differ; None where they are the same."""
    if found == wanted:
        return None
    n_same = next((at for at, (one, two) in enumerate(zip(found, wanted, strict=False)) if one != two), "all")
    return f"{len(found)} bytes, not {len(wanted)}; the first {n_same} are the same"


async def worker_killed(stage: Stage) -> None:
    stage.kill_worker()


async def redis_killed(stage: Stage) -> None:
    await asyncio.to_thread(stage.server.restart, True)


async def redis_emptied(stage: Stage) -> None:
    await asyncio.to_thread(stage.empty)


async def connections_killed(stage: Stage) -> None:
    for _ in range(6):
        await asyncio.to_thread(stage.kill_connections)
        await asyncio.sleep(0.4)


async def redis_frozen(stage: Stage) -> None:
    os.kill(stage.server.pid, signal.SIGSTOP)
    await asyncio.sleep(4)
    os.kill(stage.server.pid, signal.SIGCONT)


@pytest.mark.parametrize("fault", [worker_killed, redis_killed, redis_emptied, connections_killed, redis_frozen])
async def test_no_fault_loses_repeats_or_reorders_a_sample(
    fault: Callable[[Stage], Coroutine[Any, Any, None]], live: Relay, stage: Stage, undisturbed: Undisturbed
) -> None:
    """Texts and texts that are being written; what is sent during the fault is spoken, too."""
    await asyncio.to_thread(stage.fill)
    async with AsyncExitStack() as stack:
        callers = [await stack.enter_async_context(started(live.url)) for _ in range(N_SOCKETS)]
        for number, caller in enumerate(callers):
            await _begin(caller, number)
        begun = await asyncio.gather(*(caller.first_chunk() for caller in callers))
        broken = asyncio.create_task(fault(stage))
        await asyncio.sleep(0.05)
        heard = await asyncio.gather(*(_rest(*each) for each in zip(callers, begun, range(N_SOCKETS), strict=True)))
        await broken
    for number, samples in enumerate(heard):
        wanted = [await asyncio.to_thread(undisturbed, text(number)) for text in (long, short)]
        assert [difference(*each) for each in zip(samples, wanted, strict=True)] == [None, None], number


async def _begin(caller: Caller, number: int) -> None:
    if number % 2:
        await caller.send("speak", text=long(number))
    else:
        await caller.send("text", text=long(number)[:-20])


async def _rest(caller: Caller, begun: Utterance, number: int) -> list[bytes]:
    if not number % 2:
        await caller.send("text", text=long(number)[-20:])
        await caller.send("end")
    await caller.send("speak", text=short(number))
    return [(await caller.utterance(begun)).whole(), (await caller.utterance()).whole()]
