"""Reads the stream of every session as a relay does, with the arrival time of each entry."""

from __future__ import annotations

import time
from typing import Any

import redis

from tests.chaos.background import AWAY, Background
from worker.stream.keys import Keys

LEAST_REST_S = 0.005
REST_SHARE = 4  # rests so many times as long as it read: at most a fifth of a core that the workers need
PAUSE_S = 0.05  # after a failure
MOST_REFUSED = 20
BATCH_KEYS = 100
COUNT = 100  # entries of a stream at once

Heard = tuple[bytes, dict[bytes, bytes], float]


class Recorder(Background):
    """While entered, a thread of its own reads on from each stream's last id, through whatever happens to Redis.

    heard: of each session its entries in their order: (stream id, fields, monotonic seconds of the arrival).
    """

    def __init__(self, client: redis.Redis | redis.RedisCluster, keys: Keys | None = None) -> None:
        super().__init__("recorder")
        self.heard: dict[str, list[Heard]] = {}
        self._client: Any = client
        self._keys = keys or Keys()
        self._after: dict[str, bytes] = {}  # by key: the last id heard
        self._session_ids: dict[bytes, str] = {}  # by key
        self._n_refused = 0  # in a row
        self._skipped: set[str] = set()  # keys
        # One XREAD of a Cluster is for one slot.
        self._batch_keys = 1 if isinstance(client, redis.RedisCluster) else BATCH_KEYS

    def add(self, session_id: str) -> None:
        """Listen to this session too, from its first entry on. Harmless to repeat."""
        key = self._keys.audio(session_id)
        self.heard.setdefault(session_id, [])
        self._session_ids[key.encode()] = session_id
        self._after.setdefault(key, b"0")

    def skip(self, session_id: str) -> None:
        """Listen to it no more until `begin_again`: its stream will be no stream, or another one."""
        self._skipped.add(self._keys.audio(session_id))

    def begin_again(self, session_id: str) -> None:
        """Listen to it from the first entry of a new stream on; what was heard before stays."""
        key = self._keys.audio(session_id)
        self._after[key] = b"0"
        self._skipped.discard(key)

    def _turn(self) -> float:
        began_s = time.monotonic()
        try:
            self._listen()
        except AWAY:
            return PAUSE_S
        except redis.ResponseError:  # of one that was skipped too late, or for good
            self._n_refused += 1
            if self._n_refused > MOST_REFUSED:
                raise
            return PAUSE_S
        self._n_refused = 0
        return max(LEAST_REST_S, REST_SHARE * (time.monotonic() - began_s))

    def _listen(self) -> None:
        keys = [key for key in list(self._after) if key not in self._skipped]
        with self._client.pipeline(transaction=False) as pipeline:
            for first in range(0, len(keys), self._batch_keys):
                batch = keys[first : first + self._batch_keys]
                pipeline.xread({key: self._after[key] for key in batch}, count=COUNT)
            answers = pipeline.execute()
        at_s = time.monotonic()
        for key, entries in (pair for answer in answers for pair in answer):
            heard = self.heard[self._session_ids[key]]
            heard.extend((stream_id, fields, at_s) for stream_id, fields in entries)
            self._after[key.decode()] = entries[-1][0]
