"""A client of the speak socket."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

Json = dict[str, Any]

PATIENCE_S = 30.0
DONE, CANCELLED = {"type": "complete"}, {"type": "complete", "cancelled": True}


@dataclass
class Utterance:
    """What a client received of one utterance."""

    samples: bytearray = field(default_factory=bytearray)
    n_chunks: int = 0
    n_final: int = 0
    answer: Json = field(default_factory=dict)

    def take(self, message: Json) -> bool:
        """Whether the message belongs to an utterance. Fails where the protocol is broken."""
        match message:
            case {"binary": {"base64": data}} | {"type": "audio_chunk", "data": data}:
                is_final = bool(message.get("is_final", False))
                assert self.n_final == 0, "nothing follows a final chunk but the answer"
                assert data or is_final, "an empty chunk that is not final"
                self.samples += base64.b64decode(data)
                self.n_chunks += 1
                self.n_final += is_final
            case {"type": "complete" | "error"}:
                assert (self.n_final == 1) is (self.n_chunks > 0), "a final chunk where a chunk was sent"
                self.answer = message
            case _:
                return False
        return True

    def whole(self) -> bytes:
        """The samples of an utterance that is complete."""
        assert self.answer == DONE, self.answer
        return bytes(self.samples)


class Caller:
    """One socket. `receive` gives messages, and a binary frame as {"binary": {"base64": …}}."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.session_id = ""

    async def start(self, **members: Any) -> None:
        await self.send("start", **members)
        ready = await self.receive()
        assert ready["type"] == "ready", ready
        self.session_id = ready["session_id"]

    async def send(self, kind: str, **members: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, **members}))

    async def receive(self, within_s: float = PATIENCE_S) -> Json:
        async with asyncio.timeout(within_s):
            frame = await self.socket.recv()
        if isinstance(frame, bytes):
            return {"binary": {"base64": base64.b64encode(frame).decode()}}
        message: Json = json.loads(frame)
        return message

    async def status(self) -> int | None:
        """Receive until the socket is closed; the status of the relay's close frame."""
        try:
            while True:
                await self.receive()
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd is not None else None

    async def utterance(self, begun: Utterance | None = None, within_s: float = PATIENCE_S) -> Utterance:
        """The next utterance up to its answer; messages that belong to none are skipped. begun: its beginning."""
        one = begun or Utterance()
        while not one.answer:
            one.take(await self.receive(within_s))
        return one

    async def first_chunk(self) -> Utterance:
        """An utterance up to its first chunk."""
        one = Utterance()
        while not one.n_chunks:
            one.take(await self.receive())
            assert not one.answer, one.answer
        return one


@asynccontextmanager
async def calling(url: str, **options: Any) -> AsyncIterator[Caller]:
    """A socket that is open. options: of websockets' `connect`."""
    given = {"max_size": None, "proxy": None, "ping_interval": None, "close_timeout": 5, "open_timeout": 30}
    async with connect(url, **(given | options)) as socket:
        yield Caller(socket)


@asynccontextmanager
async def started(url: str, **members: Any) -> AsyncIterator[Caller]:
    """A socket whose `start` was answered."""
    async with calling(url) as caller:
        await caller.start(**members)
        yield caller
