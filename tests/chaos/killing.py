"""Kills workers while they speak, at chosen moments, and waits until another worker goes on."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis

from schemas.messages import TERMINAL_TYPES
from tests.chaos.fleet import Fleet, Member
from tests.chaos.recorder import Heard
from tests.chaos.scene import Scene
from tests.chaos.talk import LONG, Speaking, Talk
from tests.chaos.timed import epoch_ms_of
from tests.processes import until
from worker.stream.keys import GROUP, Keys

AT_RANDOM, AFTER_A_BEAT, LAST_SEGMENT = "at random", "after a heartbeat", "in the third segment"
MOMENTS = (AT_RANDOM, AFTER_A_BEAT, LAST_SEGMENT)
MOMENT_WITHIN_S = 120.0
GOES_ON_WITHIN_S = 30.0


@dataclass(frozen=True, slots=True)
class Kill:
    """at_ms: wall clock when the worker was gone; every epoch that it opened is at or below. held: what it had taken,
    as (session, entry).
    """

    moment: str
    at_s: float
    at_ms: int
    held: tuple[tuple[str, str], ...]


def kill_speakers(this: Scene, n_kills: int) -> list[Kill]:
    """Kill that many, each when the last one's utterances go on and another worker is ready in its place."""
    lease_s = this.cast.lease_ms / 1000
    killer = Killer(this.fleet, this.client, this.talk, random.Random(this.cast.seed), lease_s)
    kills = []
    for n in range(n_kills):
        kill = killer.kill(MOMENTS[n % len(MOMENTS)])
        kills.append(kill)
        fresh = this.fleet.start()
        _await_take_overs(kill, this.recorder.heard)
        this.fleet.until_ready(fresh)
    return kills


def _await_take_overs(kill: Kill, heard: dict[str, list[Heard]]) -> None:
    until(lambda: all(goes_on(heard[session], entry, kill.at_ms) for session, entry in kill.held), GOES_ON_WITHIN_S)


def goes_on(heard: Sequence[Heard], entry_id: str, at_ms: int) -> bool:
    """Whether another worker has brought a chunk of an utterance, or it has ended: its newest entry says so."""
    for stream_id, fields, _ in reversed(heard):
        if fields.get(b"entry") == entry_id.encode():
            kind = fields[b"type"].decode()
            return kind in TERMINAL_TYPES or (kind == "audio" and epoch_ms_of(stream_id) > at_ms)
    return False


@dataclass(frozen=True, slots=True)
class Killer:
    """draw: decides when, and whom among those that speak."""

    fleet: Fleet
    client: redis.Redis
    talk: Talk
    draw: random.Random
    lease_s: float

    def kill(self, moment: str) -> Kill:
        """Wait for the moment and kill. Raises RuntimeError when it does not come."""
        time.sleep(self.draw.uniform(0, self.lease_s))
        victim = self._victim(moment)
        at_s = self.fleet.kill(victim)
        at_ms = time.time_ns() // 1_000_000
        held = [
            (self._session_of(row["message_id"]), row["message_id"].decode())
            for row in self._pending()
            if row["consumer"].decode().startswith(victim.name_prefix)
        ]
        return Kill(moment, at_s, at_ms, tuple(held))

    def _victim(self, moment: str) -> Member:
        end_s = time.monotonic() + MOMENT_WITHIN_S
        while time.monotonic() < end_s:
            speaking = [one for one in self.talk.speaking if moment != LAST_SEGMENT or one.segment == LONG - 1]
            if speaking and (found := self._worker_of(self.draw.choice(speaking), moment == AFTER_A_BEAT)):
                return found
            time.sleep(0.002)
        raise RuntimeError(f"no worker could be killed {moment} within {MOMENT_WITHIN_S} s")

    def _worker_of(self, speaking: Speaking, just_beaten: bool) -> Member | None:
        """Who speaks it, or None when nobody does any more. just_beaten: waits until its lease is renewed."""
        idle_ms = -1
        while rows := self._pending(speaking.entry_id):
            owner, before_ms, idle_ms = rows[0]["consumer"].decode(), idle_ms, rows[0]["time_since_delivered"]
            if not just_beaten or idle_ms < before_ms:
                return next((one for one in self.fleet.members if owner.startswith(one.name_prefix)), None)
            time.sleep(0.001)
        return None

    def _pending(self, entry_id: str | None = None) -> list[dict[str, Any]]:
        rows: Any = self.client.xpending_range(Keys().jobs, GROUP, entry_id or "-", entry_id or "+", 1000)
        return list(rows)

    def _session_of(self, entry_id: bytes) -> str:
        found: Any = self.client.xrange(Keys().jobs, entry_id, entry_id)
        return str(found[0][1][b"session_id"], "ascii")
