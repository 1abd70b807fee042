"""The load of a run: sessions with one to five jobs each; some cancel, a few leave.

There are always so many unsettled jobs, so that whatever breaks, it breaks while somebody speaks.
"""

from __future__ import annotations

import asyncio
import heapq
import random
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self

from schemas.jobs import SAMPLE_RATES, Encoding
from tests.chaos.background import AWAY, Background
from tests.chaos.follower import Follower
from tests.chaos.ledger import Ledger, Published
from tests.chaos.recorder import Recorder
from tests.chaos.scribe import Scribe
from tests.chaos.setups import Setup
from tests.chaos.writing import Writing, draw_script
from worker.stream.client import Client
from worker.stream.keys import Keys
from worker.stream.transport.address import Address

TURN_S = 0.25  # in which one job is published at most
TTL_MS = 300_000  # nothing expires however long Redis is away
CANCELS, LEAVES, SEEDED = 0.06, 0.05, 0.4  # the share of the jobs, of the sessions, of the jobs
OPEN, CANCELS_OPEN, AGAIN = 0.35, 0.12, 0.06  # the share of the jobs, and of those with an open text
FOLLOWED = 0.25  # the share of the sessions that a relay with hints follows, too
NAMED = 0.7  # the share of the jobs that name their language
AHEAD_MS = ("0", "3000", "3000", None, None)  # None for the worker's own
WAIT_MS = 200  # for a replica to have a job
PAUSE_S = 0.05
AFTER_EVERY_JOB = f"{2**53}-0"  # an entry id

ENGLISH = (
    "Yes.",
    "Of course!",
    "Good morning to you.",
    "The train to Kyoto leaves at seven in the morning from the ninth platform.",
    "Please be there ten minutes before it goes. And keep your ticket at hand, for it will be asked for twice.",
    "A light breakfast is served on board once the conductor has passed by. From the left side of the carriage you may "
    "see the mountain on a clear day. The journey takes a little over two hours and ends beside the old market.",
    "Somebody with a blue umbrella will wait for you at the northern entrance. Should nobody be there, call the number "
    "on the back of your ticket. It is answered at every hour of the day, also on Sundays. I wish you a good journey, "
    "and better weather than we have here. If you like, I can tell you more about the sights along the way.",
    'Dr. Fuji pays **$3.50** for [tea](https://example.org/a?b=c) at 7.30 p.m. (or so he *says*) 🍵. "Is it hot?" '
    "asked the guest... No!\n\n- It is green\n- It is 80 °C, e.g. not `boiling`\n\nGood night — and see you soon.",
)
JAPANESE = (
    "はい。",
    "こんにちは、マキマです。",
    "今日はとてもいい天気ですね。散歩に行くのもいいかもしれません。",
    "京都行きの電車は、朝の七時に九番線から出ます。十分前には駅に着いていてください。切符は、二回見せることになります。",
)
SEEDS = ("0", "5", str(2**63 - 1))
EMPTY = " "  # ends as the error text_empty
SILENT = ("…!", ":)", "---", "🎉")  # complete without a sample
_TEXTS = [("English", text) for text in ENGLISH] + [("Japanese", text) for text in JAPANESE]
_WEIGHTS = [1, 1, 1, 2, 3, 4, 4, 2, 1, 1, 2, 3]


def draw_fields(draw: random.Random, session_id: str, job_id: str) -> dict[str, str]:
    """A job in any language, length, encoding and rate of the mix."""
    language, text = draw.choices(_TEXTS, _WEIGHTS)[0]
    kind = draw.random()
    fields = {
        "session_id": session_id,
        "text": EMPTY if kind < 0.01 else draw.choice(SILENT) if kind < 0.04 else text,
        "job_id": job_id,
        "sample_rate": str(draw.choice(SAMPLE_RATES)),
        "encoding": draw.choice(list(Encoding)).value,
        "ttl_ms": str(TTL_MS),
    }
    if draw.random() < NAMED:  # the others' scripts decide
        fields["language"] = language
    if (ahead_ms := draw.choice(AHEAD_MS)) is not None:
        fields["ahead_ms"] = ahead_ms
    return fields | ({"seed": draw.choice(SEEDS)} if draw.random() < SEEDED else {})


@dataclass(slots=True)
class _Session:
    session_id: str
    n_jobs: int
    leaves: bool
    entry_ids: list[str] = field(default_factory=list)


class Load(Background):
    """While entered, a thread of its own publishes; leaving waits for the cancels under way.

    depth: jobs that are kept unsettled, unless they end faster than one a turn; about two thirds are of different
    sessions. follower: another relay for some of the sessions.
    """

    def __init__(
        self, setup: Setup, recorder: Recorder, draw: random.Random, depth: int, follower: Follower | None = None
    ) -> None:
        super().__init__("load")
        self.ledger = Ledger()
        self.recorder = recorder
        self._follower = follower
        self._n_of: Counter[str] = Counter()
        self._draw = draw
        self._depth = depth
        self._keys = Keys()
        self._client: Any = setup.client()
        self._scribe = Scribe(setup)
        self._address = Address(setup.direct_url)
        self._n_replicas = int(setup.writes_may_be_lost)
        self._n_sessions = 0
        self._talking: list[_Session] = []
        self._due: list[tuple[float, int, partial[None]]] = []
        self._interrupters = ThreadPoolExecutor(4, "interrupter")
        self._interruptions: list[Future[None]] = []

    def __enter__(self) -> Self:
        self._scribe.__enter__()
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._scribe.__exit__(*error)
        self._interrupters.shutdown(cancel_futures=self.is_broken_off)
        self._client.close()
        if not self.is_broken_off:
            for one in self._interruptions:
                one.result()

    def _turn(self) -> float:
        while self._due and self._due[0][0] <= time.monotonic():
            self._interruptions.append(self._interrupters.submit(heapq.heappop(self._due)[2]))
        try:
            n_unsettled = self._client.xlen(self._keys.jobs)
        except AWAY:
            return PAUSE_S
        if n_unsettled < self._depth:
            self._speak(self._whose_turn())
        return TURN_S

    def _whose_turn(self) -> _Session:
        if len(self._talking) < self._depth * 2 // 3:
            self._n_sessions += 1
            session_id = f"session-{self._n_sessions}"
            session = _Session(session_id, self._draw.randint(1, 5), self._draw.random() < LEAVES)
            self._talking.append(session)
            if self._draw.random() < FOLLOWED and not session.leaves and self._follower is not None:
                self._follower.follow(session_id)
        return self._draw.choice(self._talking)

    def _speak(self, session: _Session) -> None:
        session_id = session.session_id
        job = self.publish_for(session_id, self._draw)
        session.entry_ids.append(job.entry_id)
        if self._draw.random() < (CANCELS if job.writing is None else CANCELS_OPEN):
            upto = self._draw.choice([job.entry_id, job.entry_id, *session.entry_ids])
            self._later(partial(self._cancel, session_id, upto))
        if job.writing is not None and job.writing.script.has_end and self._draw.random() < AGAIN:
            self._later(partial(self._publish_again, job))
        if len(session.entry_ids) == session.n_jobs:
            self._talking.remove(session)
            if session.leaves:
                self._later(partial(self._leave, session_id))

    def next_job_id(self, session_id: str) -> str:
        """Of the next job that is published for it."""
        return f"{session_id}-{self._n_of[session_id]}"

    def publish_for(self, session_id: str, draw: random.Random, open_share: float = OPEN) -> Published:
        """One more job, also from another thread for a session of its own. Returns when it is acknowledged.

        open_share: how probable an open text is.
        """
        self.recorder.add(session_id)
        job_id = self.next_job_id(session_id)
        fields = draw_fields(draw, session_id, job_id)
        text_key, writing = self._keys.text(session_id, job_id), None
        if draw.random() < open_share:
            writing = Writing(draw_script(draw, fields.pop("text")), time.monotonic())
            fields["text_from"] = "stream"
            self._scribe.begin(text_key, writing)
        entry_id, n_sent = self._publish(fields)
        self._n_of[session_id] += 1
        job = Published(session_id, job_id, entry_id, fields, time.monotonic(), n_sent, writing)
        self.ledger.jobs.append(job)
        if writing is not None:
            self._scribe.go_on(text_key, writing)
        return job

    def _publish_again(self, job: Published) -> None:
        """As a producer does that has lost its connection."""
        self.ledger.send_again(job, self._publish(dict(job.fields))[1])

    def _publish(self, fields: dict[str, str]) -> tuple[str, int]:
        """Until it is acknowledged, by a replica too where the server alone may lose it: always the same job.

        Returns its entry's id, and how often it was sent.
        """
        n_sent = 0
        while True:
            try:
                with self._client.pipeline(transaction=False) as pipeline:
                    pipeline.xadd(self._keys.jobs, fields)
                    if self._n_replicas:
                        pipeline.wait(self._n_replicas, WAIT_MS)
                    try:
                        entry_id, *n_having_it = pipeline.execute()
                    finally:
                        n_sent += pipeline.n_attempts
            except AWAY:
                if self.is_broken_off:
                    raise
                time.sleep(PAUSE_S)
            else:
                if all(n >= self._n_replicas for n in n_having_it):
                    return str(entry_id, "ascii"), n_sent

    def _later(self, what: partial[None]) -> None:
        at_s = time.monotonic() + self._draw.uniform(0, 4)
        heapq.heappush(self._due, (at_s, len(self.ledger.jobs), what))

    def _cancel(self, session_id: str, upto: str) -> None:
        self.ledger.cancels.setdefault(session_id, []).append(upto)
        asyncio.run(self._interrupt(lambda client: client.cancel(session_id, upto)))

    def _leave(self, session_id: str) -> None:
        self.ledger.left.add(session_id)
        self.ledger.cancels.setdefault(session_id, []).append(AFTER_EVERY_JOB)
        asyncio.run(self._interrupt(lambda client: client.leave(session_id)))

    async def _interrupt(self, say: Any) -> None:
        """Until it is heard; saying it twice does no harm."""
        while True:
            try:
                async with Client(self._address, self._address, self._keys) as client:
                    await say(client)
            except AWAY:
                if self.is_broken_off:
                    raise
                await asyncio.sleep(PAUSE_S)
            else:
                return
