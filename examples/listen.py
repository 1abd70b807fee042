"""Receive a session's audio with redis-py and msgpack alone, and write it into a WAV file.

    python examples/listen.py SESSION OUT.wav [--url URL] [--jobs N]

Ends after N jobs (1) have their terminal entry. The rules for readers are in schemas/vectors/README.md.
"""

from __future__ import annotations

import argparse
import wave
from collections.abc import Iterator
from typing import Any

import msgpack
import redis

BLOCK_MS = 1000
TERMINAL = {"complete", "cancelled", "error"}


def messages(client: redis.Redis, session_id: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every entry of the session's stream from its beginning: type, and the decoded msgpack map ({} without one)."""
    key, last_id = f"makima:{{{session_id}}}:audio", "0"
    while True:
        read: Any = client.xread({key: last_id}, count=100, block=BLOCK_MS)
        for entry_id, fields in read[0][1] if read else ():
            last_id = entry_id.decode()
            data = fields.get(b"data")
            yield fields.get(b"type", b"").decode(), msgpack.unpackb(data) if data else {}


class Player:
    """Collects 16-bit samples in order. Reads rules 3 and 4: ignore audio after a cancel, drop repeated samples."""

    def __init__(self) -> None:
        self.samples = bytearray()
        self.sample_rate = 24_000
        self._job_id = ""
        self._position = 0
        self._is_cancelled = False

    def take(self, kind: str, message: dict[str, Any]) -> None:
        if kind == "cancel":
            self._is_cancelled = True
        elif kind == "begin":
            self._is_cancelled = False
            self.sample_rate = message["sample_rate"]
            if message["job_id"] != self._job_id:
                self._job_id, self._position = message["job_id"], 0
        elif kind == "audio" and not self._is_cancelled:
            n_known = max(0, self._position - message["pos"])
            fresh = message["data"][2 * n_known :]
            self.samples += fresh
            self._position += len(fresh) // 2
        elif kind in TERMINAL:
            self._is_cancelled = False


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a session's audio into a WAV file.")
    parser.add_argument("session")
    parser.add_argument("out")
    parser.add_argument("--url", default="redis://127.0.0.1:6379/0")
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    player, n_left = Player(), given.jobs
    # RESP2, whose replies look the same in every version; the socket must wait longer than the blocking read.
    with redis.Redis.from_url(given.url, protocol=2, socket_timeout=BLOCK_MS / 1000 + 5) as client:
        for kind, message in messages(client, given.session):
            player.take(kind, message)
            if kind in TERMINAL:
                print(kind, message.get("code", ""), message.get("message", ""))
                n_left -= 1
            if n_left == 0:
                break
    with wave.open(given.out, "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(player.sample_rate)
        wav.writeframes(bytes(player.samples))


if __name__ == "__main__":
    main()
