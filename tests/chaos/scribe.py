"""Writes open texts, each piece when it is due, through whatever happens to Redis.

The n-th piece has the ID `<n>-0`, so that an XADD whose reply was lost is refused when it is sent again.
"""

from __future__ import annotations

import heapq
import time
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from typing import Any

import redis

from tests.chaos.background import AWAY, Background
from tests.chaos.setups import Setup
from tests.chaos.writing import Writing
from worker.stream.keys import SESSION_TTL_MS

TURN_S, PAUSE_S = 0.01, 0.05
WAIT_MS = 200  # for a replica to have a piece
N_WRITERS = 6


class Scribe(Background):
    """While entered, a thread of its own and some writers. Leaving waits until every text is written."""

    def __init__(self, setup: Setup) -> None:
        super().__init__("scribe")
        self._client: Any = setup.client()
        self._n_replicas = int(setup.writes_may_be_lost)
        self._due: list[tuple[float, int, str, Writing, int]] = []
        self._numbers = count()
        self._writers = ThreadPoolExecutor(N_WRITERS, "writer")
        self._under_way: set[Future[None]] = set()
        self._open: set[str] = set()  # keys of texts that are still being written

    def __exit__(self, *error: object) -> None:
        while not any(error) and self.is_running and self._open:
            time.sleep(TURN_S)
        super().__exit__(*error)
        self._writers.shutdown(cancel_futures=self.is_broken_off)
        self._client.close()

    def begin(self, key: str, writing: Writing) -> None:
        """Write what precedes the job; returns when it is acknowledged."""
        for n in range(writing.script.n_before):
            self._write(key, writing, n)

    def go_on(self, key: str, writing: Writing) -> None:
        """Write the rest, each piece in its time."""
        self._open.add(key)
        self._put_off(key, writing, writing.script.n_before)

    def _put_off(self, key: str, writing: Writing, n: int) -> None:
        if n < len(pieces := writing.script.pieces):
            heapq.heappush(self._due, (time.monotonic() + pieces[n].after_s, next(self._numbers), key, writing, n))
        else:
            self._open.discard(key)

    def _turn(self) -> float:
        for done in [future for future in self._under_way if future.done()]:
            self._under_way.discard(done)
            done.result()
        while self._due and self._due[0][0] <= time.monotonic():
            _, _, key, writing, n = heapq.heappop(self._due)
            self._under_way.add(self._writers.submit(self._write_and_put_off, key, writing, n))
        return TURN_S

    def _write_and_put_off(self, key: str, writing: Writing, n: int) -> None:
        if self._write(key, writing, n):
            self._put_off(key, writing, n + 1)
        else:
            self._open.discard(key)

    def _write(self, key: str, writing: Writing, n: int) -> bool:
        """Until it is acknowledged, by a replica too where the script wants that.

        Returns False where a stranger has made the key something that takes no piece.
        """
        n_replicas = self._n_replicas if writing.script.waits else 0
        before_s = time.monotonic()
        while True:
            try:
                self._add(key, writing, n)
                n_having_it = self._renew(key, n_replicas)
            except AWAY:
                if self.is_broken_off:
                    raise
                n_having_it = -1
            except redis.ResponseError:
                return False
            if n_having_it >= n_replicas:
                writing.acknowledged.append((writing.script.pieces[n].fields, before_s, time.monotonic()))
                return True
            time.sleep(PAUSE_S)

    def _add(self, key: str, writing: Writing, n: int) -> None:
        """A stream that is gone is written again from its beginning, with the same IDs."""
        while n and not self._client.exists(key):
            for earlier in range(n):
                self._add_one(key, writing, earlier)
        self._add_one(key, writing, n)

    def _add_one(self, key: str, writing: Writing, n: int) -> None:
        try:
            self._client.xadd(key, dict(writing.script.pieces[n].fields), id=f"{n + 1}-0")
        except AWAY:
            raise
        except redis.ResponseError as error:
            if "equal or smaller" not in str(error):  # else it is there: a reply was lost
                raise

    def _renew(self, key: str, n_replicas: int) -> int:
        """The stream's time to live; returns how many replicas have all this."""
        with self._client.pipeline(transaction=False) as pipeline:
            pipeline.pexpire(key, SESSION_TTL_MS)
            if n_replicas:
                pipeline.wait(n_replicas, WAIT_MS)
            return int(pipeline.execute()[-1]) if n_replicas else int(bool(pipeline.execute()))


def lost_pieces(client: Any, key: str, writing: Writing) -> bool:
    """Whether Redis has not everything that it acknowledged of this text."""
    if client.type(key) not in (b"stream", b"none"):
        return True
    return [fields for _, fields in client.xrange(key)] != [fields for fields, *_ in writing.acknowledged]
