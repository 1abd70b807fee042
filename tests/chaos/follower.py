"""A relay that follows hints: it reads a session's stream when a hint names it, and looks once a second in any case."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

import redis

from tests.chaos.background import AWAY, Background
from worker.stream.keys import Keys

LOOK_S = 1.0
HINT_S = 0.02  # waits so long for one
COUNT = 1000

Entry = tuple[bytes, dict[bytes, bytes]]


class Follower(Background):
    """While entered, a thread of its own. heard: of each session its entries in their order. counts: hints, and entries
    that were read after a hint and at a look.
    """

    def __init__(self, client: redis.Redis | redis.RedisCluster, keys: Keys | None = None) -> None:
        super().__init__("follower")
        self.heard: dict[str, list[Entry]] = {}
        self.counts: Counter[str] = Counter()
        self._client: Any = client
        self._is_cluster = isinstance(client, redis.RedisCluster)
        self._keys = keys or Keys()
        self._new: SimpleQueue[str] = SimpleQueue()
        self._session_ids: dict[str, str] = {}  # by channel, which is the stream's key
        self._hints: Any = None  # subscribed to all of them
        self._looked_at_s = 0.0
        self.n_subscribed = 0  # sessions whose hints arrive from now on

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._unsubscribe()
        self._client.close()

    def follow(self, session_id: str) -> None:
        """This session too, from its first entry on; from any thread."""
        self._new.put(session_id)

    def _turn(self) -> float:
        try:
            self._subscribe_new()
            if time.monotonic() - self._looked_at_s > LOOK_S:
                for key in self._session_ids:
                    self._read(key, "entries_by_look")
                self._looked_at_s = time.monotonic()
            if self._hints is not None and (channel := self._hint()):
                self.counts["hints"] += 1
                self._read(channel, "entries_by_hint")
        except AWAY:
            self._unsubscribe()
            return HINT_S
        return 0.0 if self._session_ids else HINT_S

    def _hint(self) -> str:
        """The channel of the next one, or ""."""
        read = self._hints.get_sharded_message if self._is_cluster else self._hints.get_message
        message = read(timeout=HINT_S) or {"type": "none"}
        self.n_subscribed += message["type"].endswith("subscribe")
        return str(message["channel"], "ascii") if message["type"].endswith("message") else ""

    def _subscribe_new(self) -> None:
        channels = []
        with suppress(Empty):
            while True:
                session_id = self._new.get_nowait()
                self.heard[session_id] = []
                channels.append(self._keys.audio(session_id))
                self._session_ids[channels[-1]] = session_id
        if self._hints is None and self._session_ids:
            self._hints, channels = self._client.pubsub(), list(self._session_ids)
        if channels:
            subscribe = self._hints.ssubscribe if self._is_cluster else self._hints.subscribe
            for channel in channels:  # each is a slot of its own
                subscribe(channel)

    def _unsubscribe(self) -> None:
        hints, self._hints, self.n_subscribed = self._hints, None, 0
        if hints is not None:
            with suppress(*AWAY):
                hints.close()

    def _read(self, key: str, name: str) -> None:
        heard = self.heard[self._session_ids[key]]
        after = heard[-1][0] if heard else b"0"
        for _, entries in self._client.xread({key: after}, count=COUNT):
            heard.extend(entries)
            self.counts[name] += len(entries)
