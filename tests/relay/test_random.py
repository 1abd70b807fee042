"""Random conversations beside real workers: whatever a client sends, each utterance is answered once and in order."""

from __future__ import annotations

import asyncio
import random

from tests.relay.callers import Caller, Json, Utterance, started
from tests.relay.live import Undisturbed
from tests.relay.relays import Relay

N_SOCKETS, N_TURNS = 12, 25
WORDS = ("Well, ", "one more", " thing. ", "And so on.", " Then ", "it ends! ")
LAST = "That was all."


class Conversation:
    """A client that sends at random, and checks what it receives by the protocol. seed: of what it sends."""

    def __init__(self, caller: Caller, seed: int) -> None:
        self._caller = caller
        self._chance = random.Random(seed)
        self._texts: list[str] = []  # of all utterances
        self._is_open = self._has_sent_all = False
        self._n_answered = 0
        self._stopped: list[int] = []  # utterances sent before each stop that is not answered yet
        self._n_silenced = 0
        self._n_refusals = 0
        self._utterance = Utterance()

    async def run(self) -> None:
        receiving = asyncio.create_task(self._receive())
        for _ in range(N_TURNS):
            await self._turn()
            await asyncio.sleep(self._chance.choice((0, 0, 0.02, 0.2)))
        if self._is_open:
            await self._caller.send("end")
        self._stopped.append(len(self._texts))
        self._has_sent_all = True
        await self._caller.send("stop", played_ms=0)
        await receiving

    async def _turn(self) -> None:
        chance, send = self._chance, self._caller.send
        match chance.choice(("speak", "text", "text", "text", "flush", "end", "stop", "stop_played", "mood")):
            case "speak":
                words = "".join(chance.choices(WORDS, k=3))  # drawn in any case, so that a seed is one conversation
                if self._n_unanswered() >= 8:
                    return
                self._texts.append(words)
                await send("speak", text=self._texts[-1])
            case "text":
                piece = chance.choice(WORDS)
                if not self._is_open and self._n_unanswered() >= 8:
                    return
                if not self._is_open:
                    self._is_open, self._open_at = True, len(self._texts)
                    self._texts.append("")
                self._texts[self._open_at] += piece
                await send("text", text=piece)
            case "flush" | "end" as kind:
                self._n_refusals += not self._is_open
                self._is_open = self._is_open and kind == "flush"
                await send(kind)
            case "stop":
                self._is_open = False
                await send("stop")
            case "stop_played":
                self._is_open = False
                self._stopped.append(len(self._texts))
                await send("stop", played_ms=chance.choice((0, 0.5, 100, 1000.25, 1e6)))
            case "mood":
                self._n_refusals += 1
                await send("mood")

    def _n_unanswered(self) -> int:
        return len(self._texts) - self._n_answered

    async def _receive(self) -> None:
        """Until everything was answered; the last that is sent has an answer."""
        while not self._has_sent_all or self._stopped or self._n_unanswered() or self._n_refusals:
            message = await self._caller.receive()
            if message["type"] == "text_heard":
                self._n_silenced = self._stopped.pop(0)
                self._check_heard(message)
            elif message.get("code") == "bad_message":
                self._n_refusals -= 1
                assert self._n_refusals >= 0, message
            else:
                self._take(message)

    def _take(self, message: Json) -> None:
        if message["type"] == "audio_chunk":
            assert self._n_answered >= self._n_silenced, "an utterance is silent once its stop was answered"
        assert self._utterance.take(message), message
        if self._utterance.answer:
            assert message["type"] == "complete", message
            self._n_answered += 1
            assert self._n_answered <= len(self._texts)
            self._utterance = Utterance()

    def _check_heard(self, message: Json) -> None:
        if message["utterance"] is None:
            assert (message["text"], message["is_estimate"]) == ("", False)
            return
        assert 1 <= message["utterance"] <= self._n_silenced
        text = "".join(self._texts[message["utterance"] - 1].split())  # segments are joined with a blank
        assert text.startswith("".join(message["text"].split())), (text, message)


async def test_random_conversations_are_answered_by_the_protocol(live: Relay, undisturbed: Undisturbed) -> None:
    async def converse(seed: int) -> bytes:
        async with started(live.url) as caller:
            try:
                await Conversation(caller, seed).run()
            except BaseException as problem:
                problem.add_note(f"the conversation of seed {seed}")
                raise
            await caller.send("speak", text=LAST)
            return (await caller.utterance()).whole()

    heard = await asyncio.gather(*(converse(seed) for seed in range(N_SOCKETS)))
    assert heard == [await asyncio.to_thread(undisturbed, LAST)] * N_SOCKETS
