"""A segment that ends after its last frame was sent, as by an end token behind a whole chunk."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection
from dataclasses import replace

import numpy as np
import redis

from tests.conftest import Server, eventually, make_settings, running
from tests.flow.listening import Heard, check_complete, read_session, until_ended
from tests.tone import ToneEngine
from worker.engine.base import NO_CODES, Finish, Frames
from worker.stream.client import Client

LATE_BY_S = 0.1


class LateEngine(ToneEngine):
    def __init__(self, frame_s: float = 0.0) -> None:
        super().__init__(4, frame_s, has_codes=True)
        self._late: deque[tuple[float, Frames]] = deque()

    def step(self, held: Collection[int] = ()) -> list[Frames]:
        stepped = []
        for frames in super().step(held):
            if frames.finish is Finish.STOP:
                at, n = time.monotonic() + LATE_BY_S, frames.first_frame + len(frames.codes)
                self._late.append((at, Frames(frames.slot, n, np.zeros(0, np.float32), NO_CODES, Finish.STOP)))
            stepped.append(replace(frames, finish=None) if frames.finish is Finish.STOP else frames)
        while self._late and time.monotonic() > self._late[0][0]:
            stepped.append(self._late.popleft()[1])
        return stepped

    def wait_s(self, held: Collection[int] = ()) -> float:
        return 0.0 if self._late else super().wait_s(held)


async def test_it_is_taken_over_by_its_codes(valkey: redis.Redis, valkey_server: Server, client: Client) -> None:
    settings = make_settings(valkey_server.url, grace_s=0)
    async with running(settings, LateEngine(frame_s=0.02)) as leaving:
        await client.publish({"session_id": "s", "text": "This is the first one. And here is another."})
        await eventually(lambda: any((e.codes or b"")[:2] == b"\x01\x00" for _, _, e in _so_far(valkey).chunks))
        leaving.stop()
    async with running(settings, LateEngine()):
        await until_ended(client, "s", within_s=30)
    check_complete(_so_far(valkey))
    assert [begin.resumed_by for _, begin in _so_far(valkey).begins] == [None, "codes"]


def _so_far(valkey: redis.Redis) -> Heard:
    return next(iter(read_session(valkey, "s").values()), Heard())
