"""One client's socket: what each of its messages does."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from schemas.job_values import SAMPLE_RATES, Encoding
from worker.relay.jobs import PendingText
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
from worker.relay.outlet import GOING_AWAY, Outlet
from worker.relay.planes import RelayPlanes
from worker.relay.session import RelaySession

ALIASES = {"pcm16": "pcm_s16le"}


class SpeakSocket:
    """Serves one connection until it closes."""

    def __init__(
        self, connection: ServerConnection, planes: RelayPlanes, options: RelayOptions, metrics: RelayMetrics
    ) -> None:
        self._connection = connection
        self._planes = planes
        self._options = options
        self._metrics = metrics
        self._outlet = Outlet(connection, options.pace_ahead_s, metrics)
        self._session: RelaySession | None = None
        self._has_left = False
        self._n_utterances = 0
        self._has_open_text = False
        self._open_job = ""  # "" for an open text that was refused

    async def serve(self) -> None:
        """Answer messages until the client leaves."""
        try:
            with suppress(ConnectionClosed):
                async for frame in self._connection:
                    try:
                        self._handle(read_message(frame))
                    except MessageRefused as refused:
                        self._outlet.refuse(refused.refusal, str(refused))
                    await self._outlet.until_taken()
        finally:
            self._leave()

    async def drain(self) -> None:
        """Leave the session and close the socket: the relay ends."""
        self._leave()
        await self._outlet.close(GOING_AWAY, "the relay is shutting down")

    def _leave(self) -> None:
        """Leave the session, in the background."""
        has_left, self._has_left = self._has_left, True
        if self._session is not None and not has_left:
            self._planes.in_background(self._session.leave())

    def _handle(self, message: ClientMessage) -> None:
        if isinstance(message, StartMessage):
            self._begin(message)
            return
        session = self._session
        if session is None:
            raise MessageRefused("not_started", "there is no session yet", "send start first")
        if self._has_left:
            raise MessageRefused("unavailable", "this relay is shutting down", "open another socket")
        match message:
            case SpeakMessage(text):
                self._speak(session, text)
            case TextMessage(text) if text:
                if not self._has_open_text:
                    self._open_job = self._speak(session, None)
                    self._has_open_text = True
                self._continue(session, lambda pending: pending.add(text))
            case FlushMessage():
                self._check_open("flush")
                self._continue(session, PendingText.flush)
            case EndMessage():
                self._check_open("end")
                self._continue(session, PendingText.end)
                self._has_open_text = False
            case StopMessage(played_ms):
                self._stop(session, played_ms)

    def _begin(self, start: StartMessage) -> None:
        if self._session is not None:
            raise MessageRefused("already_started", "the session has started", "open another socket for another format")
        encoding = ALIASES.get(start.encoding, start.encoding)
        if start.sample_rate not in SAMPLE_RATES or encoding not in tuple(Encoding):
            rates = ", ".join(map(str, SAMPLE_RATES))
            problem = f"{start.encoding[:40]} at {start.sample_rate} Hz is not offered"
            raise MessageRefused("unsupported_format", problem, f"use {', '.join(Encoding)} at {rates} Hz")
        self._outlet.start = start
        given = {"sample_rate": start.sample_rate, "encoding": encoding} | self._options.job_options
        fields = {name: str(value) for name, value in given.items() if value is not None}
        session_id = secrets.token_hex(16)
        limits = (self._options.ttl_ms, self._options.text_wait_s)
        self._session = RelaySession(self._planes, self._outlet, session_id, fields, *limits)
        self._outlet.message({"type": "ready", "session_id": session_id})

    def _speak(self, session: RelaySession, text: str | None) -> str:
        """Start an utterance; returns its job_id, or "" where it is refused. text: None for an open one."""
        self._n_utterances += 1
        self._metrics.utterances.inc()
        if session.n_unfinished >= self._options.max_unfinished:
            problem = f"{session.n_unfinished} utterances are not answered yet; wait for an answer, or send stop"
            self._outlet.refuse("unavailable", problem)
            return ""
        job_id = session.speak(text)
        self._outlet.expect(job_id, self._n_utterances)
        return job_id

    def _continue(self, session: RelaySession, change: Callable[[PendingText], None]) -> None:
        """Change the open text. Nothing happens where its utterance was answered."""
        if (pending := session.open_text(self._open_job)) is not None:
            change(pending)
            session.written(self._open_job)

    def _check_open(self, name: str) -> None:
        if not self._has_open_text:
            raise MessageRefused("bad_message", f"{name} came while no text is open", "send text first")

    def _stop(self, session: RelaySession, played_ms: float | None) -> None:
        self._has_open_text = False
        closing, ended = session.stop()
        self._outlet.send(closing)
        part = self._outlet.stop(round((played_ms or 0) * self._outlet.start.sample_rate / 1000))
        if played_ms is not None:
            heard = None if part is None else session.heard(part.job_id, part.n_samples)
            self._outlet.message(
                {
                    "type": "text_heard",
                    "utterance": None if part is None or heard is None else part.utterance,
                    "text": "" if heard is None else heard.text,
                    "is_estimate": heard is not None and heard.is_estimate,
                }
            )
        self._outlet.send(ended)
