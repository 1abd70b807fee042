"""What goes out over one socket: in the order in which it is decided, without waiting.

Audio is only read from Redis while the connection takes what was sent before, so the stream in Redis is the buffer.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from contextlib import suppress
from typing import Any

from websockets.asyncio.server import ServerConnection, broadcast

from worker.relay.messages import StartMessage
from worker.relay.metrics import RelayMetrics
from worker.relay.pace import Pace, PlayedPart, PlayedTimeline
from worker.stream.hearing import Sent, SentAnswer, SentChunk, SentSegment

log = logging.getLogger(__name__)

STALLED_S = 60.0  # after which a client that takes nothing is closed
CLOSE_S = 5.0
MAX_PIECE_S = 60.0
GOING_AWAY = 1001
POLICY_VIOLATION = 1008
INTERNAL_ERROR = 1011


class Outlet:
    """Sends one client its messages. start: the format that it chose."""

    def __init__(self, connection: ServerConnection, pace_ahead_s: float, metrics: RelayMetrics) -> None:
        self._connection = connection
        self._metrics = metrics
        self._pace = Pace(pace_ahead_s)
        self._timeline = PlayedTimeline()
        self._stopped = asyncio.Event()
        self._closing: set[asyncio.Task[None]] = set()
        self._n_sent = 0  # frames
        self._utterances: dict[str, int] = {}  # by job_id, of those without an answer
        self.start = StartMessage()

    @property
    def max_samples(self) -> int:
        """Of one piece, for the pace."""
        return max(1, int(min(self._pace.piece_s, MAX_PIECE_S) * self.start.sample_rate))

    def expect(self, job_id: str, utterance: int) -> None:
        """What comes of this job belongs to this utterance."""
        self._utterances[job_id] = utterance

    async def ready_for(self, n_samples: int) -> bool:
        """Wait until the connection takes more and the listener has played enough; False to be called again."""
        await self.until_taken()
        wait_s = self._pace.wait_s(n_samples / self.start.sample_rate)
        if wait_s:
            self._stopped.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), wait_s)
        return not wait_s

    def stop(self, n_played: int) -> PlayedPart | None:
        """The client drops what its player has not played. Returns the last utterance of which something was played."""
        self._pace.stop()
        self._stopped.set()
        return self._timeline.stop(n_played)

    def send(self, sent: Sent) -> None:
        """Send these on."""
        for one in sent:
            match one:
                case SentChunk():
                    self._send_chunk(one)
                case SentSegment(job_id, segment) if self.start.segments:
                    which = {"utterance": self._utterances[job_id], "index": segment.index}
                    self.message({"type": "segment"} | which | {"pos": segment.pos, "text": segment.text})
                case SentAnswer(job_id, answer):
                    del self._utterances[job_id]
                    self._metrics.count(answer)
                    self.message(answer)

    def refuse(self, code: str, problem: str) -> None:
        """Answer a message, or an utterance, with an error of the relay's own."""
        error = {"type": "error", "code": code, "message": problem}
        self._metrics.count(error)
        self.message(error)

    def message(self, message: dict[str, Any]) -> None:
        self._put(json.dumps(message, ensure_ascii=False, separators=(",", ":")))

    def failed(self) -> None:
        """The session cannot be read: close the socket."""
        task = asyncio.create_task(self.close(INTERNAL_ERROR, "the relay failed"))
        self._closing.add(task)

    async def close(self, code: int, reason: str) -> None:
        """Close the socket; one that takes nothing is cut off."""
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._connection.close(code, reason)
        except TimeoutError:
            self._connection.transport.abort()

    async def until_taken(self) -> None:
        """Wait until all but the write limit has left. A client that takes nothing for long is closed."""
        transport = self._connection.transport
        while True:
            n_sent, n_waiting = self._n_sent, transport.get_write_buffer_size()
            try:
                async with asyncio.timeout(STALLED_S):
                    await self._connection.drain()
            except TimeoutError:
                # A client that takes nothing leaves pings in the buffer, too.
                if n_sent == self._n_sent and n_waiting <= transport.get_write_buffer_size():
                    self._metrics.slow.inc()
                    log.info("a client took nothing for %.0f s; its socket is closed", STALLED_S)
                    await self.close(POLICY_VIOLATION, "nothing was taken for too long")
                    return
            else:
                return

    def _send_chunk(self, chunk: SentChunk) -> None:
        seconds = chunk.n_samples / self.start.sample_rate
        self._timeline.sent(self._utterances[chunk.job_id], chunk.job_id, chunk.n_samples)
        self._pace.sent(seconds)
        self._metrics.audio_s.inc(seconds)
        if not self.start.binary:
            self._put(_audio_chunk(chunk.data, chunk.is_final))
            return
        if chunk.data:
            self._put(chunk.data)
        if chunk.is_final:
            self._put(_audio_chunk(b"", is_final=True))

    def _put(self, frame: str | bytes) -> None:
        self._n_sent += 1
        broadcast([self._connection], frame)  # which waits for nothing


def _audio_chunk(data: bytes, is_final: bool) -> str:
    """Written without json, which would look at each character of the samples."""
    text = base64.b64encode(data).decode()
    return f'{{"type":"audio_chunk","data":"{text}","is_final":{"true" if is_final else "false"}}}'
