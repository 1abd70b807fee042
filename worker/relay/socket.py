"""One client's socket: what each of its messages does, and how its session's audio and answers reach it."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from contextlib import suppress
from typing import Any

from websockets.asyncio.server import ServerConnection, broadcast
from websockets.exceptions import ConnectionClosed

from schemas.job_values import SAMPLE_RATES, Encoding
from worker.relay.messages import (
    ClientMessage,
    EndMessage,
    FlushMessage,
    MessageRefused,
    SpeakMessage,
    StartMessage,
    StopMessage,
    TextMessage,
    read_message,
)
from worker.relay.metrics import RelayMetrics
from worker.relay.options import RelayOptions
from worker.relay.pace import Pace, PlayedTimeline
from worker.relay.planes import RelayPlanes
from worker.relay.session import RelaySession
from worker.stream.hearing import Sent, SentAnswer, SentChunk, SentSegment, chunk_message

log = logging.getLogger(__name__)

STALLED_S = 60.0  # after which a client that takes nothing is closed
GOING_AWAY = 1001
POLICY_VIOLATION = 1008
ALIASES = {"pcm16": "pcm_s16le"}


class SpeakSocket:
    """Serves one connection until it closes. Everything is sent in the order in which it is decided, without waiting;

    audio is only read from Redis while the connection takes what was sent.
    """

    def __init__(
        self, connection: ServerConnection, planes: RelayPlanes, options: RelayOptions, metrics: RelayMetrics
    ) -> None:
        self._connection = connection
        self._planes = planes
        self._options = options
        self._metrics = metrics
        self._start = StartMessage()
        self._session: RelaySession | None = None
        self._n_utterances = 0
        self._utterance_of: dict[str, int] = {}  # job_id: utterance, of unfinished jobs
        self._has_open_text = False
        self._open_job = ""  # "" for an open text that was refused
        self._pace = Pace(options.pace_ahead_s)
        self._timeline = PlayedTimeline()
        self._stopped = asyncio.Event()
        self._is_draining = False
        self._has_left = False

    async def serve(self) -> None:
        """Answer messages until the client leaves."""
        try:
            with suppress(ConnectionClosed):
                async for frame in self._connection:
                    try:
                        self._handle(read_message(frame))
                    except MessageRefused as refused:
                        self._send_error(refused.refusal, str(refused))
                    await self._until_taken()
        finally:
            self._leave()

    async def drain(self) -> None:
        """Leave the session and close the socket: the relay ends."""
        self._is_draining = True
        self._leave()
        await self._connection.close(GOING_AWAY, "the relay is shutting down")

    def _leave(self) -> None:
        """Leave the session, in the background."""
        if self._session is not None and not self._has_left:
            self._has_left = True
            self._planes.in_background(self._session.leave())

    # What the client sends.

    def _handle(self, message: ClientMessage) -> None:
        if isinstance(message, StartMessage):
            self._begin(message)
            return
        session = self._session
        if session is None:
            raise MessageRefused("not_started", "there is no session yet", "send start first")
        match message:
            case SpeakMessage(text):
                self._speak(session, text)
            case TextMessage(""):
                pass
            case TextMessage(text):
                if not self._has_open_text:
                    self._open_job = self._speak(session, None)
                    self._has_open_text = True
                session.write(self._open_job, text)
            case FlushMessage():
                self._check_open("flush")
                session.flush(self._open_job)
            case EndMessage():
                self._check_open("end")
                session.end(self._open_job)
                self._has_open_text = False
            case StopMessage(played_ms):
                self._stop(session, played_ms)

    def _begin(self, start: StartMessage) -> None:
        if self._session is not None:
            raise MessageRefused("already_started", "the session has started", "open another socket for another format")
        encoding = ALIASES.get(start.encoding, start.encoding)
        if start.sample_rate not in SAMPLE_RATES or encoding not in tuple(Encoding):
            rates = ", ".join(map(str, SAMPLE_RATES))
            raise MessageRefused(
                "unsupported_format",
                f"{start.encoding[:40]} at {start.sample_rate} Hz is not offered",
                f"use {', '.join(Encoding)} at {rates} Hz",
            )
        self._start = start
        given = {"sample_rate": start.sample_rate, "encoding": encoding} | self._options.job_options
        fields = {name: str(value) for name, value in given.items() if value is not None}
        self._session = RelaySession(
            self._planes, self, secrets.token_hex(16), fields, self._options.ttl_ms, self._options.text_wait_s
        )
        self._send({"type": "ready", "session_id": self._session.session_id})

    def _speak(self, session: RelaySession, text: str | None) -> str:
        """Start an utterance; returns its job_id, or "" where it is refused."""
        self._n_utterances += 1
        self._metrics.utterances.inc()
        if self._is_draining:
            self._send_error("unavailable", "this relay is shutting down; open another socket")
            return ""
        if session.n_unfinished >= self._options.max_unfinished:
            problem = f"{session.n_unfinished} utterances are not answered yet; wait for an answer, or send stop"
            self._send_error("unavailable", problem)
            return ""
        job_id = session.speak(text)
        self._utterance_of[job_id] = self._n_utterances
        return job_id

    def _check_open(self, name: str) -> None:
        if not self._has_open_text:
            raise MessageRefused("bad_message", f"{name} came while no text is open", "send text first")

    def _stop(self, session: RelaySession, played_ms: float | None) -> None:
        self._has_open_text = False
        closing, ended = session.stop()
        self.send(closing)
        part = self._timeline.stop(int((played_ms or 0) * self._start.sample_rate / 1000))
        if played_ms is not None:
            heard = None if part is None else session.heard(part.job_id, part.n_samples)
            self._send(
                {
                    "type": "text_heard",
                    "utterance": None if part is None or heard is None else part.utterance,
                    "text": "" if heard is None else heard.text,
                    "is_estimate": heard is not None and heard.is_estimate,
                }
            )
        self._pace.stop()
        self._stopped.set()
        self.send(ended)

    # What the client receives.

    async def ready_for(self, n_samples: int) -> bool:
        """Wait until the connection takes more, and until the listener has played enough; False after a stop."""
        await self._until_taken()
        wait_s = self._pace.wait_s(n_samples / self._start.sample_rate)
        if not wait_s:
            return True
        self._stopped.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopped.wait(), wait_s)
        return False

    def send(self, sent: Sent) -> None:
        """Send these on, without waiting."""
        for one in sent:
            match one:
                case SentChunk():
                    self._send_chunk(one)
                case SentSegment() if self._start.segments:
                    about = {"utterance": self._utterance_of[one.job_id], "index": one.segment.index}
                    self._send({"type": "segment"} | about | {"pos": one.segment.pos, "text": one.segment.text})
                case SentAnswer():
                    self._utterance_of.pop(one.job_id, None)
                    self._metrics.count(one.message)
                    self._send(one.message)

    def _send_chunk(self, chunk: SentChunk) -> None:
        self._timeline.sent(self._utterance_of[chunk.job_id], chunk.job_id, chunk.n_samples)
        self._pace.sent(chunk.n_samples / self._start.sample_rate)
        self._metrics.audio_s.inc(chunk.n_samples / self._start.sample_rate)
        if not self._start.binary:
            self._send(chunk_message(chunk.data, chunk.is_final))
            return
        if chunk.data:
            broadcast([self._connection], chunk.data)
        if chunk.is_final:
            self._send(chunk_message(b"", is_final=True))

    def _send_error(self, code: str, message: str) -> None:
        answer = {"type": "error", "code": code, "message": message}
        self._metrics.count(answer)
        self._send(answer)

    def _send(self, message: dict[str, Any]) -> None:
        broadcast([self._connection], json.dumps(message, ensure_ascii=False, separators=(",", ":")))

    async def _until_taken(self) -> None:
        """Wait until what was sent has left, up to the write limit. A client that takes nothing for long is closed."""
        transport = self._connection.transport
        while True:
            waiting = transport.get_write_buffer_size()
            try:
                async with asyncio.timeout(STALLED_S):
                    await self._connection.drain()
            except TimeoutError:
                if transport.get_write_buffer_size() >= waiting:
                    log.info("a client took nothing for %.0f s; its socket is closed", STALLED_S)
                    await self._connection.close(POLICY_VIOLATION, "nothing was taken for too long")
                    raise
                continue
            return
