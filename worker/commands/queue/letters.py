"""`queue dead` and `cancel`."""

from __future__ import annotations

import json
import re
from typing import Any

from rich.table import Table

from schemas.jobs import session_id_of
from worker.commands.queue.operator import on_queue
from worker.commands.terminal import complain, foreign, table_console
from worker.settings import Settings
from worker.stream.client import Client
from worker.stream.keys import Keys
from worker.stream.transport.address import addresses
from worker.stream.transport.base import Link

_ENTRY_ID = re.compile(r"[0-9]{1,20}(-[0-9]{1,20})?")


def dead(settings: Settings, count: int, as_json: bool) -> int:
    return on_queue(settings, lambda link, keys: _dead(link, keys, count, as_json))


def cancel(settings: Settings, session_id: str, upto: str | None) -> int:
    if session_id_of([b"session_id", session_id.encode("utf-8", "replace")]) is None:
        complain("the session id is invalid; use 1 to 128 of A-Z a-z 0-9 . _ : -")
        return 2
    if upto is not None and not _ENTRY_ID.fullmatch(upto):
        complain("--upto is not an entry id; use the one that XADD returned for the job, such as 1700000000000-0")
        return 2

    async def send(_: Link, keys: Keys) -> int:
        async with Client(*addresses(settings), keys) as client:
            used = await client.cancel(session_id, upto)
        print(f"cancelled the jobs of session {session_id} up to {used}")
        return 0

    return on_queue(settings, send)


async def _dead(link: Link, keys: Keys, count: int, as_json: bool) -> int:
    letters = await link.call("XREVRANGE", keys.dead, "+", "-", "COUNT", max(1, count))
    if not letters:
        print("[]" if as_json else "no dead letters")
        return 0
    rows = [_letter(dead_id, flat) for dead_id, flat in letters]
    if as_json:
        print(json.dumps(rows))
        return 0
    table = Table("id", "reason", "attempts", "session", "job")
    for row in rows:
        names = ("id", "dead_reason", "dead_attempts", "session_id", "dead_id")
        table.add_row(*[foreign(row.get(name, "")) for name in names])
    table_console().print(table)
    return 0


def _letter(dead_id: bytes, flat: list[bytes]) -> dict[str, Any]:
    """A dead letter's fields without the text, which must not appear in terminals and logs."""
    shown = {"id": dead_id.decode()}
    for name, value in zip(flat[::2], flat[1::2], strict=True):
        if name != b"text":
            shown.setdefault(name.decode("utf-8", "replace")[:128], value.decode("utf-8", "replace")[:128])
    return shown
