"""A worker that writes what a test wants: it reads the job stream beside all others, for one session."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgpack
import redis

from tests.relay.callers import PATIENCE_S, Json
from worker.stream.keys import Keys

MS = 600_000


class ScriptedWorker:
    """One session's jobs, numbered from 1 in the order in which they were published. Number 0 is a foreign job."""

    def __init__(self, valkey: redis.Redis, session_id: str, keys: Keys | None = None) -> None:
        self.session_id = session_id
        self._valkey = valkey
        self._keys = keys or Keys()
        self._jobs: list[tuple[str, dict[str, str]]] = []
        self._last_id = "-"

    async def published(self, number: int) -> tuple[str, str]:
        """The entry id and the job_id of a job that the relay published; waits for it."""
        fields = await self.job(number)
        return self._jobs[number - 1][0], fields["job_id"]

    async def job(self, number: int) -> dict[str, str]:
        """The fields of a job that the relay published; waits for it."""
        await self._until(lambda: self._n_published() >= number, f"job {number} of {self.session_id} was not published")
        return self._jobs[number - 1][1]

    def write(self, number: int, kind: str, members: Json | None, data: bytes = b"") -> None:
        """Append an entry for that job. members: those of its message; None: `data` as it stands."""
        entry_id, fields = ("1-1", {"job_id": "x1"}) if number == 0 else self._jobs[number - 1]
        own = {"v": 1, "type": kind, "job_id": fields["job_id"], "session_id": self.session_id}
        delivered = members.get("samples", members.get("pos", 0)) if members is not None else 0
        self.append({
            "type": kind, "job_id": fields["job_id"], "entry": entry_id, "delivered": delivered,
            "data": data if members is None else msgpack.packb(own | members),
        }, is_begin=kind == "begin")  # fmt: skip

    def begin(self, number: int) -> None:
        self.write(number, "begin", {
            "voice": "makima", "model": "preview", "sample_rate": 24_000, "encoding": "pcm_s16le", "attempt": 1,
            "resumed_at": 0, "resumed_by": None,
        })  # fmt: skip

    def audio(self, number: int, pos: int, data: bytes, is_final: bool = False) -> None:
        self.write(number, "audio", {"seq": 0, "pos": pos, "data": data, "is_final": is_final})

    def complete(self, number: int, samples: int = 0) -> None:
        self.write(number, "complete", {
            "finish": "stop", "samples": samples, "chunks": 1, "audio_ms": 0, "queue_ms": 1, "first_audio_ms": 0,
            "leading_silence_ms": 0, "rtf": 0.0, "seed": 7, "voice": "makima", "model": "preview", "text_spoken": "",
        })  # fmt: skip

    def speak(self, number: int, data: bytes) -> None:
        """The whole job in one chunk."""
        self.begin(number)
        self.audio(number, 0, data, is_final=True)
        self.complete(number, len(data) // 2)

    def append(self, fields: Any, is_begin: bool = False) -> None:
        """Append flat fields under the next ID, a `begin` under a new epoch, and publish the hint."""
        key = self._keys.audio(self.session_id)
        while True:
            ms, n = self._tail(key)
            now_ms = time.time_ns() // 1_000_000
            next_id = f"{max(ms + 1, now_ms)}-0" if is_begin or not ms else f"{ms}-{n + 1}"
            try:
                self._valkey.xadd(key, fields | {"at": now_ms}, id=next_id)
                break
            except redis.ResponseError as problem:  # a cancel of the relay came between
                if "equal or smaller" not in str(problem):
                    raise
        self._valkey.pexpire(key, MS)
        self._valkey.publish(key, next_id)

    def cancel(self, number: int) -> None:
        """Another program cancels up to that job."""
        cut, upto = self._keys.cut(self.session_id), self._jobs[number - 1][0]
        self._valkey.xadd(cut, {"type": "cancel"}, id=upto, maxlen=1, approximate=False)
        self._valkey.pexpire(cut, MS)
        self.append({"type": "cancel", "upto": upto})

    async def cut(self, number: int, within_s: float = PATIENCE_S) -> None:
        """Wait until the relay has cancelled up to that job; the one behind it must not be cancelled."""
        await self._until(lambda: self.is_cut(number), f"job {number} of {self.session_id} was not cancelled", within_s)
        self._n_published()
        assert all(self._cut() < _id(entry_id) for entry_id, _ in self._jobs[number:])

    def is_cut(self, number: int) -> bool:
        return self._cut() >= _id(self._jobs[number - 1][0])

    async def text(self, number: int, wanted: list[Json]) -> None:
        """Wait until the text of that job consists of these pieces."""
        key = self._keys.text(self.session_id, self._jobs[number - 1][1]["job_id"])
        await self._until(lambda: self._pieces(key) == _joined(wanted), f"{self._pieces(key)}, not {wanted}")
        assert 0 < self._valkey.pttl(key) <= MS

    def _pieces(self, key: str) -> list[Json]:
        entries: Any = self._valkey.xrange(key)
        assert [entry_id.decode() for entry_id, _ in entries] == [
            f"{number}-0" for number in range(1, len(entries) + 1)
        ]
        pieces: list[Json] = []
        for _, fields in entries:
            text = fields.get(b"text")
            pieces += [{"text": text.decode()}] if text is not None else []
            pieces += [{name: True} for name in ("flush", "end") if fields.get(name.encode()) == b"1"]
        return _joined(pieces)

    def _n_published(self) -> int:
        entries: Any = self._valkey.xrange(self._keys.jobs, min=self._last_id)
        for entry_id, raw in entries:
            self._last_id = f"({entry_id.decode()}"
            fields = {name.decode(): value.decode() for name, value in raw.items()}
            if fields.get("session_id") == self.session_id:
                self._jobs.append((entry_id.decode(), fields))
        return len(self._jobs)

    def _cut(self) -> tuple[int, int]:
        found: Any = self._valkey.xrevrange(self._keys.cut(self.session_id), count=1)
        return _id(found[0][0].decode()) if found else (0, 0)

    def _tail(self, key: str) -> tuple[int, int]:
        try:
            found: Any = self._valkey.xinfo_stream(key)
        except redis.ResponseError:
            return (0, 0)
        return _id(found["last-generated-id"].decode())

    async def _until(self, is_so: Any, otherwise: str, within_s: float = PATIENCE_S) -> None:
        deadline_s = time.monotonic() + within_s
        while not is_so():
            assert time.monotonic() < deadline_s, otherwise
            await asyncio.sleep(0.002)


def _id(text: str) -> tuple[int, int]:
    ms, _, n = text.partition("-")
    return int(ms), int(n)


def _joined(pieces: list[Json]) -> list[Json]:
    """Without cuts between texts."""
    joined: list[Json] = []
    for piece in pieces:
        if "text" in piece and joined and "text" in joined[-1]:
            joined[-1] = {"text": joined[-1]["text"] + piece["text"]}
        else:
            joined.append(piece)
    return joined
