"""Sessions that always have a job: the next one is published before the current one has ended."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import redis

from schemas.jobs import SAMPLE_RATES, Encoding, job_fields
from schemas.messages import TERMINAL_TYPES
from schemas.wire import unpack_codes
from tests.chaos.ledger import Ledger, Published
from tests.chaos.recorder import Recorder
from worker.stream.keys import Keys

TURN_S = 0.02
TTL_MS = 300_000  # nothing expires while it waits for its turn

# Each is a segment of its own: above the splitter's least, and the first within its shorter limit.
SENTENCES = (
    "The train to Kyoto leaves at seven in the morning from the ninth platform.",
    "Please be there ten minutes before it goes, and keep your ticket at hand.",
    "A light breakfast is served on board once the conductor has passed by.",
    "From the left side of the carriage you may see the mountain on a clear day.",
    "The journey takes a little over two hours and ends beside the old market.",
    "Somebody with a blue umbrella will wait for you at the northern entrance.",
)
LONG = 3  # segments
TEXTS = [" ".join(SENTENCES[first : first + n]) for first, n in ((0, 1), (1, 2), (0, LONG), (3, LONG))]

_TERMINAL = frozenset(kind.encode() for kind in TERMINAL_TYPES)


def draw_job(draw: random.Random, session_id: str, n: int) -> dict[str, str]:
    """The n-th job of a session: one to three segments, half of them three, in any encoding and rate.

    It names no seed, so that few jobs differ in what they sound like undisturbed; each derives one of its own.
    """
    return job_fields(
        session_id,
        draw.choice(TEXTS),
        job_id=f"{session_id}-{n}",
        sample_rate=draw.choice(SAMPLE_RATES),
        encoding=draw.choice(list(Encoding)).value,
        ttl_ms=TTL_MS,
    )


@dataclass(frozen=True, slots=True)
class Speaking:
    """An utterance that a session is just hearing, and the segment of its newest chunk."""

    session_id: str
    entry_id: str
    segment: int


@dataclass(slots=True)
class _Session:
    session_id: str
    n_published: int = 0
    n_read: int = 0
    unsettled: set[str] = field(default_factory=set)
    speaking: Speaking | None = None


class Talk:
    """While entered, a thread of its own publishes; leaving stops that and waits for nothing.

    depth: unsettled jobs that each session keeps, the one it hears among them. ledger: every job published.
    """

    def __init__(
        self,
        client: redis.Redis,
        recorder: Recorder,
        sessions: int,
        depth: int,
        draw: Callable[[str, int], dict[str, str]],
    ) -> None:
        self.ledger = Ledger()
        self._client = client
        self._recorder = recorder
        self._draw = draw
        self._depth = depth
        self._sessions = [_Session(f"talk-{n}") for n in range(sessions)]
        self._publishes = True
        self._turn = threading.Lock()
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._run, name="talk")

    def __enter__(self) -> Talk:
        for session in self._sessions:
            self._recorder.add(session.session_id)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._leaving.set()
        self._thread.join()

    @property
    def speaking(self) -> list[Speaking]:
        """What is being heard just now."""
        return [session.speaking for session in self._sessions if session.speaking is not None]

    def finish(self, within_s: float) -> None:
        """Publish no more and wait until every job has ended, or the time is over."""
        with self._turn:
            self._publishes = False
        end_s = time.monotonic() + within_s
        while any(session.unsettled for session in self._sessions) and time.monotonic() < end_s:
            time.sleep(TURN_S)

    def _run(self) -> None:
        while not self._leaving.wait(TURN_S):
            with self._turn:
                for session in self._sessions:
                    self._hear(session)
                    while self._publishes and len(session.unsettled) < self._depth:
                        self._publish(session)

    def _publish(self, session: _Session) -> None:
        fields = self._draw(session.session_id, session.n_published)
        answer: Any = self._client.xadd(Keys().jobs, dict(fields.items()))
        entry_id = answer.decode()
        session.n_published += 1
        session.unsettled.add(entry_id)
        self.ledger.jobs.append(
            Published(session.session_id, fields["job_id"], entry_id, fields, at_s=time.monotonic())
        )

    def _hear(self, session: _Session) -> None:
        for _, fields, _ in self._recorder.heard[session.session_id][session.n_read :]:
            session.n_read += 1
            entry_id = fields[b"entry"].decode()
            if fields[b"type"] in _TERMINAL:
                session.unsettled.discard(entry_id)
                session.speaking = None
            elif fields[b"type"] == b"audio":
                session.speaking = Speaking(session.session_id, entry_id, unpack_codes(fields[b"codes"])[0])
