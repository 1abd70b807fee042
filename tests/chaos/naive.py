"""Workers whose writers heed no fence: what a run has to find, if its checks are worth anything.

Patched into the nursery that forks them, and nowhere else.
"""

from __future__ import annotations

from typing import Any

from schemas.messages import Message
from schemas.wire import stream_fields
from worker.service import Worker
from worker.stream.lease import Lease
from worker.stream.session_writer import SessionWriter

NEXT = "*"  # whatever the stream ends with


def heed_no_fence() -> None:
    """Entries get ids that Redis never refuses, ends are written without asking, and a lost lease stops nobody."""
    patches = {
        (SessionWriter, "_append"): _append,
        (SessionWriter, "end"): _end,
        (Lease, "confirm"): _confirm,
        (Worker, "_abort"): _abort,
    }
    for (owner, name), patch in patches.items():
        if name not in vars(owner):
            raise AttributeError(f"{owner.__name__} has no {name} any more: fences are heeded elsewhere now")
        setattr(owner, name, patch)


async def _append(writer: SessionWriter, entries: list[list[Any]]) -> list[Any]:
    written = [await _add(writer, fields) for fields in entries]
    return [b"OK" if all(written) else b"GONE"]


async def _add(writer: SessionWriter, fields: list[Any]) -> Any:
    return await writer._plane.retry(
        lambda: writer._plane.link.call("XADD", writer._audio, "NOMKSTREAM", NEXT, *fields)
    )


async def _end(writer: SessionWriter, message: Message, code: str = "", text: str = "") -> None:
    fields = stream_fields(message, writer._lease.entry_id, writer.delivered)
    await _add(writer, fields)


async def _confirm(lease: Lease, now: bool = False) -> None:
    """Whatever the lease is, go on."""


def _abort(worker: Worker, lease: Lease) -> None:
    """It goes on speaking."""
