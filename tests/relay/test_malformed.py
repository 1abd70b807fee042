"""Malformed messages: each has one answer, and neither its socket nor its neighbour is disturbed."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from contextlib import suppress

import pytest
import redis
from websockets.exceptions import ConnectionClosed

from tests.relay.callers import Caller, started
from tests.relay.relays import Relay
from tests.relay.scripted import ScriptedWorker

N_SOCKETS, N_MESSAGES = 4, 500
BATCH = 20
KINDS = {"start", "speak", "text", "flush", "end", "stop"}
VALID = (
    '{"type": "start", "sample_rate": 24000, "encoding": "pcm_s16le", "binary": true, "segments": null}',
    '{"type": "speak", "text": "„Hello“ \\ud83d\\ude00 there."}',
    '{"type": "text", "text": "How are you?\\n", "more": [1, -2.5e3, {"a": {}}]}',
    '{"type": "stop", "played_ms": 1234.5}',
)
SPECIAL = (
    "\x00",
    "\u2028",
    "\ufeff",
    "\\",
    '"',
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "0",
    "-",
    "e",
    "é",
    "\U0001f600",
    " ",
    "\n",
)


def is_malformed(message: str | bytes) -> bool:
    """Whether it can only be refused; False where it is not certain."""

    def no_constant(name: str) -> None:
        raise ValueError(name)

    if isinstance(message, bytes):
        return True
    try:
        read = json.loads(message, parse_constant=no_constant)
    except (ValueError, RecursionError):
        return True
    if not isinstance(read, dict):
        return True
    kind = read.get("type")
    return not isinstance(kind, str) or kind not in KINDS


def malformed(seed: int) -> Iterator[str | bytes]:
    """Truncated, mutated and spliced messages, noise, and binary frames."""
    chance = random.Random(seed)
    while True:
        one, two = chance.choice(VALID), chance.choice(VALID)
        at = chance.randrange(len(one))
        message: str | bytes
        match chance.randrange(7):
            case 0:
                message = one[:at]
            case 1:
                message = one[:at] + chance.choice(SPECIAL) + one[at + chance.randrange(3) :]
            case 2:
                message = one[:at] + two[chance.randrange(len(two)) :]
            case 3:
                message = "".join(chance.choice(SPECIAL) for _ in range(chance.randrange(40)))
            case 4:
                message = json.dumps({"type": chance.choice(SPECIAL) * chance.randrange(300), "text": one})
            case 5:
                message = chance.randbytes(chance.randrange(200))
            case _:
                message = chance.choice('[{"') * chance.randrange(1, 60_000)
        if is_malformed(message):
            yield message


async def test_each_malformed_message_is_answered_and_disturbs_nobody(relay: Relay, valkey: redis.Redis) -> None:
    async def attack(seed: int) -> None:
        async with started(relay.url) as caller:
            messages = malformed(seed)
            for _ in range(N_MESSAGES // BATCH):
                sent = [next(messages) for _ in range(BATCH)]
                for message in sent:
                    await caller.socket.send(message)
                for message in sent:
                    answer = await caller.receive()
                    assert (answer["type"], answer.get("code")) == ("error", "bad_message"), (message, answer)
            await _speaks(caller, valkey)

    async with started(relay.url) as neighbour:
        attacks = asyncio.gather(*(attack(seed) for seed in range(N_SOCKETS)))
        n_spoken = 0
        worker = ScriptedWorker(valkey, neighbour.session_id)
        while not attacks.done() or not n_spoken:
            n_spoken += 1
            await _speaks(neighbour, valkey, worker, n_spoken)
            await asyncio.sleep(0.01)
        await attacks


async def _speaks(caller: Caller, valkey: redis.Redis, worker: ScriptedWorker | None = None, number: int = 1) -> None:
    worker = worker or ScriptedWorker(valkey, caller.session_id)
    await caller.send("speak", text="Hello there.")
    await worker.job(number)
    worker.speak(number, b"\x01\x02\x03\x04")
    said = await caller.utterance()
    assert (said.whole(), said.n_chunks) == (b"\x01\x02\x03\x04", 1)


@pytest.mark.parametrize(("frame", "is_text", "status"), [
    (b"a" * 1_048_577, False, 1009),
    ([b"a" * 600_000, b"a" * 600_000], True, 1009),
    ([b"a" * 300_000] * 4, False, 1009),
    (b'{"type": "speak", "text": "\xff"}', True, 1007),
])  # fmt: skip
async def test_a_frame_that_no_relay_reads_closes_its_socket_alone(
    frame: bytes | list[bytes], is_text: bool, status: int, relay: Relay, valkey: redis.Redis
) -> None:
    async with started(relay.url) as neighbour, started(relay.url) as caller:
        with suppress(ConnectionClosed):
            await caller.socket.send(frame, text=is_text)
        assert await caller.status() == status
        await _speaks(neighbour, valkey)


async def test_a_message_in_many_frames_is_one_message(relay: Relay, valkey: redis.Redis) -> None:
    async with started(relay.url) as caller:
        await caller.socket.send(['{"type": "st', 'op", "play', 'ed_ms"', ": 0}"])
        assert (await caller.receive())["type"] == "text_heard"
        await caller.socket.send(["a" * 33_000, "a" * 33_000])
        assert (await caller.receive())["code"] == "bad_message"
        await _speaks(caller, valkey)
