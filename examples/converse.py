"""Speak an answer while it is being written, interrupt it, and print what was heard of it.

    python examples/converse.py [--url URL] [--interrupt-after SECONDS]

`answer` stands for an LLM and `Listener` for a player; a program of your own has both already.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
from collections.abc import AsyncIterator
from time import monotonic

from schemas.jobs import job_fields
from schemas.messages import Audio, Begin, Cancelled, Complete, Error, SegmentStart
from worker.stream.client import Client
from worker.stream.hearing import ReceivedJob
from worker.stream.keys import Keys
from worker.stream.transport.address import Address

ANSWER = (
    "Tides come from the moon. It pulls the water nearest to it more than the Earth, and the water on the far side "
    "less. So there are two bulges. The Earth turns below them, and a coast meets both each day."
)


async def answer() -> AsyncIterator[str]:
    """The text as an LLM gives it: a few characters at a time."""
    for at in range(0, len(ANSWER), 4):
        await asyncio.sleep(0.03)
        yield ANSWER[at : at + 4]


class Listener:
    """Plays a job's samples in real time, from the first one on."""

    def __init__(self) -> None:
        self.job = ReceivedJob(sample_bytes=2)
        self.has_begun = asyncio.Event()
        self._began_at = 0.0
        self._sample_rate = 24_000

    @property
    def played(self) -> int:
        """Samples that have left the loudspeaker. A real player knows this better."""
        seconds = monotonic() - self._began_at if self.has_begun.is_set() else 0.0
        return min(self.job.made, int(seconds * self._sample_rate))

    async def follow(self, client: Client, session_id: str) -> Complete | Cancelled | Error:
        """Receive the session's first job to its end."""
        async for _, entry in client.listen(session_id):
            match entry.message:
                case Begin(sample_rate=rate):
                    self._sample_rate = rate
                case SegmentStart() as segment:
                    self.job.segments.append(segment)
                case Audio() as chunk:
                    if self.job.fresh(chunk) and not self.has_begun.is_set():
                        self._began_at = monotonic()
                        self.has_begun.set()
                case Complete() | Cancelled() | Error() as end:
                    self.job.is_complete = isinstance(end, Complete)
                    return end
        raise AssertionError("listen never ends by itself")


async def converse(url: str, interrupt_after_s: float) -> None:
    session_id, listener = f"example-{secrets.token_hex(4)}", Listener()
    async with Client(Address(url), Address(url), Keys()) as client:
        following = asyncio.create_task(listener.follow(client, session_id))
        writing = asyncio.create_task(client.publish_text(job_fields(session_id, job_id="answer-1"), answer()))
        begun = asyncio.create_task(listener.has_begun.wait())
        await asyncio.wait({following, begun}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(interrupt_after_s)  # then the user speaks
        played = listener.played
        writing.cancel()  # the LLM need not go on
        await client.cancel(session_id)
        end = await following
        await asyncio.gather(writing, return_exceptions=True)
    if isinstance(end, Error):
        raise SystemExit(f"{end.code}: {end.message}")
    heard = listener.job.heard(played)
    print(f"made:  {end.text_spoken}")
    print(f"heard: {heard.text}{' (the last words are an estimate)' if heard.is_estimate else ''}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Speak an answer while it is being written, and interrupt it.")
    parser.add_argument("--url", default="redis://127.0.0.1:6379/0")
    parser.add_argument("--interrupt-after", type=float, default=3.0)
    given = parser.parse_args()
    asyncio.run(converse(given.url, given.interrupt_after))


if __name__ == "__main__":
    main()
