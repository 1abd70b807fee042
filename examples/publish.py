"""Publish one speak job with redis-py alone, and optionally cancel it.

    python examples/publish.py SESSION TEXT [--url URL]      prints the job's entry ID
    python examples/publish.py SESSION --cancel ENTRY_ID     cancels the session's jobs up to that entry

`examples/listen.py SESSION` receives the audio. The contract is described in schemas/vectors/README.md.
"""

from __future__ import annotations

import argparse
from typing import Any

import redis

JOBS = "makima:{speak}:jobs"
CUT_TTL_MS = 600_000


def publish(client: redis.Redis, session_id: str, text: str, **options: str) -> str:
    """Append the job; Redis chooses the ID. options: any other job field, such as voice or sample_rate."""
    entry_id: Any = client.xadd(JOBS, {**options, "session_id": session_id, "text": text})  # type: ignore[dict-item]
    return str(entry_id.decode())


def cancel(client: redis.Redis, session_id: str, upto: str) -> None:
    """Cancel the session's jobs up to and including this entry.

    `cut` stops jobs that have not begun. The entry in the audio stream makes the writer's next append fail, which
    stops a job that is being spoken within one chunk.
    """
    cut, audio = f"makima:{{{session_id}}}:cut", f"makima:{{{session_id}}}:audio"
    with client.pipeline(transaction=True) as both:
        both.xadd(cut, {"type": "cancel"}, id=upto, maxlen=1, approximate=False)
        both.pexpire(cut, CUT_TTL_MS)
        both.xadd(audio, {"type": "cancel", "upto": upto}, nomkstream=True)
        answers = both.execute(raise_on_error=False)
    for answer in answers[1:]:  # an error of the first means that a later job was cancelled before
        if isinstance(answer, redis.RedisError):
            raise answer


def main() -> None:
    parser = argparse.ArgumentParser(description="Publish or cancel a speak job.")
    parser.add_argument("session")
    parser.add_argument("text", nargs="?")
    parser.add_argument("--cancel", metavar="ENTRY_ID")
    parser.add_argument("--url", default="redis://127.0.0.1:6379/0")
    given = parser.parse_args()
    if (given.text is None) == (given.cancel is None):
        parser.error("give a text to publish or an entry ID to cancel")
    with redis.Redis.from_url(given.url, protocol=2) as client:
        if given.cancel is not None:
            cancel(client, given.session, given.cancel)
        else:
            print(publish(client, given.session, given.text))


if __name__ == "__main__":
    main()
