"""A healthy Redis, a fleet, and sessions that always have a job: for runs that only kill or replace workers."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

from tests.chaos.check import check, check_left_behind
from tests.chaos.fleet import Fleet, qwen_flags
from tests.chaos.nursery import Nursery
from tests.chaos.recorder import Recorder
from tests.chaos.talk import Talk, draw_job
from tests.chaos.timed import Timed, read_timed
from tests.chaos.undisturbed import Expected, Preview, Qwen
from tests.processes import until
from worker.embedded import embedded_valkey
from worker.stream.keys import Keys

FINISHED_WITHIN_S = 300.0
SETTLED_WITHIN_S = 10.0
UNDISTURBED_LEASE_MS = 60_000  # nobody dies there, however busy the machine is
QWEN_DTYPE = "float32"  # the codes of a half depend on a step's company on every CPU; the bits of samples on none


@dataclass(frozen=True, slots=True)
class Cast:
    """Who takes part. pace: of the preview engine, in times real time; Qwen speaks as fast as it can. depth: jobs that
    each session keeps published.
    """

    engine: str
    n_workers: int
    n_sessions: int
    depth: int
    seed: int
    lease_ms: int
    pace: float
    grace_s: float = 20.0

    def flags(self, folder: Path) -> list[str]:
        """The fleet's. Every worker has room for all sessions: one that is left alone can take over everything."""
        common = ["--lease-ms", str(self.lease_ms), "--grace-s", str(self.grace_s), "--slots", str(self.n_sessions)]
        if self.engine == "qwen":
            return common + qwen_flags(folder, dtype=QWEN_DTYPE)
        return [*common, "--pace", str(self.pace)]

    @contextmanager
    def expected(self, folder: Path) -> Iterator[Expected]:
        if self.engine == "qwen":
            from worker.engine.exactness import threads

            with threads(1):  # as the workers do
                yield Qwen.load(folder / "tiny", QWEN_DTYPE, folder / "voices", folder / "prompts")
        else:
            with Preview(lease_ms=UNDISTURBED_LEASE_MS) as preview:
                yield preview


@dataclass(frozen=True, slots=True)
class Scene:
    """A run under way."""

    cast: Cast
    folder: Path
    client: redis.Redis
    fleet: Fleet
    recorder: Recorder
    talk: Talk

    def utterances(self) -> dict[str, Timed]:
        """Everything heard so far, by entry id."""
        heard = self.recorder.heard.items()
        return {entry_id: one for session, entries in heard for entry_id, one in read_timed(session, entries).items()}

    def finish(self) -> list[str]:
        """Let every session hear its last job to the end, and say what is wrong with what they heard."""
        self.talk.finish(FINISHED_WITHIN_S)
        until(lambda: not check_left_behind(self.client, Keys()), SETTLED_WITHIN_S)
        self.fleet.find_fallen()
        with self.cast.expected(self.folder) as expected:
            found = check(self.talk.ledger, self._read, expected)
        return [
            *found.violations,
            *(f"left behind: {what}" for what in check_left_behind(self.client, Keys())),
            *(f"a worker ended by itself: {member.log.read_text()}" for member in self.fleet.fallen),
        ]

    def _read(self, session_id: str) -> list[tuple[bytes, dict[bytes, bytes]]]:
        return [(stream_id, fields) for stream_id, fields, _ in self.recorder.heard[session_id]]


@contextmanager
def scene(cast: Cast, folder: Path) -> Iterator[Scene]:
    """Begin: every worker is ready and every session publishes. folder: for logs, and for Qwen's model."""
    draw = random.Random(cast.seed)
    with ExitStack() as stack:
        nursery = stack.enter_context(Nursery(cast.engine))
        url = stack.enter_context(embedded_valkey()).url
        client = stack.enter_context(redis.Redis.from_url(url, protocol=2))
        recorder = stack.enter_context(Recorder(client))
        fleet = stack.enter_context(Fleet(nursery, url, cast.n_workers, folder, cast.flags(folder)))
        talk = Talk(client, recorder, cast.n_sessions, cast.depth, lambda session_id, n: draw_job(draw, session_id, n))
        yield Scene(cast, folder, client, fleet, recorder, stack.enter_context(talk))
