"""Rights of the session plane that a Redis user may lack while it can speak texts that are whole.

They are looked for once, at the worker's start and by doctor: inside a script a missing right would come too late.
"""

from __future__ import annotations

from worker.stream.keys import Keys
from worker.stream.transport.address import Address
from worker.stream.transport.base import Link
from worker.stream.transport.retry import PASSING, Refusal

SESSION = "makima-tts.doctor"  # a session that nobody has: reads find nothing, and nobody listens


def hint_command(address: Address) -> str:
    """The command that publishes hints. A Cluster's PUBLISH would reach every node; SPUBLISH reaches the key's own."""
    return "SPUBLISH" if address.is_cluster else "PUBLISH"


async def refusal_of_hints(link: Link, keys: Keys, command: str) -> Refusal | None:
    """Why Redis does not publish hints for this user; None where it does. Raises PASSING."""
    return await _refusal(link, command, keys.audio(SESSION), "0-0")


async def refusal_of_texts(link: Link, keys: Keys) -> Refusal | None:
    """Why Redis does not let this user read texts that are being written; None where it does. Raises PASSING."""
    streams = (keys.audio(SESSION), keys.text(SESSION, "none"))
    return await _refusal(link, "XREAD", "COUNT", 1, "STREAMS", *streams, "0", "0")


async def _refusal(link: Link, *command: str | int) -> Refusal | None:
    try:
        await link.call(*command)
    except PASSING:
        raise
    except Refusal as error:
        return error
    return None
