"""`queue status`, `queue dead`, `queue redrive` and `cancel`: what an operator does without redis-cli."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from hashlib import sha1
from time import time
from typing import Any

from rich.table import Table

from schemas.jobs import field_of, session_id_of
from worker.commands.terminal import complain, foreign, redis_problem, table_console
from worker.settings import Settings
from worker.stream.client import Client
from worker.stream.connect import AddressError, addresses
from worker.stream.depths import read_depths
from worker.stream.keys import Keys
from worker.stream.link import Link, open_link
from worker.stream.patience import RedisError

PAGE = 100
_ENTRY_ID = re.compile(r"[0-9]{1,20}(-[0-9]{1,20})?")
EXTRA = (b"dead_reason", b"dead_attempts", b"dead_worker", b"dead_id")


def status(settings: Settings, as_json: bool) -> int:
    return _run(settings, lambda link, keys: _status(link, keys, as_json))


def dead(settings: Settings, count: int, as_json: bool) -> int:
    return _run(settings, lambda link, keys: _dead(link, keys, count, as_json))


def redrive(settings: Settings, dead_ids: list[str], every: bool) -> int:
    if bool(dead_ids) == every:
        complain("name dead letters by id (see queue dead), or --all for every one")
        return 2
    return _run(settings, lambda link, keys: _redrive(link, keys, dead_ids))


def cancel(settings: Settings, session_id: str, upto: str | None) -> int:
    if session_id_of([b"session_id", session_id.encode("utf-8", "replace")]) is None:
        complain("a session id is 1 to 128 of A-Z a-z 0-9 . _ : -")
        return 2
    if upto is not None and not _ENTRY_ID.fullmatch(upto):
        complain("--upto is the entry id that XADD gave for the job, for example 1700000000000-0")
        return 2

    async def send(_: Link, keys: Keys) -> int:
        async with Client(*addresses(settings), keys) as client:
            used = await client.cancel(session_id, upto)
        print(f"cancelled the jobs of session {session_id} up to {used}")
        return 0

    return _run(settings, send)


def _run(settings: Settings, what: Callable[[Link, Keys], Awaitable[int]]) -> int:
    async def connected() -> int:
        link = open_link(addresses(settings)[0])
        try:
            return await what(link, Keys(settings.prefix))
        finally:
            await link.close()

    try:
        return asyncio.run(connected())
    except AddressError as error:
        complain(error)
        return 1
    except (RedisError, OSError) as error:
        complain(redis_problem(error))
        return 1


async def _status(link: Link, keys: Keys, as_json: bool) -> int:
    depths = await read_depths(link, keys)
    flat = await link.call("HGETALL", keys.workers)
    workers = {name.decode("utf-8", "replace"): _card(raw) for name, raw in zip(flat[::2], flat[1::2], strict=True)}
    if as_json:
        print(json.dumps({**asdict(depths), "workers": workers}))
        return 0
    console = table_console()
    for name, value in asdict(depths).items():
        console.print(f"{name:>10} {value:.1f}" if name == "oldest_s" else f"{name:>10} {value}")
    table = Table("worker", "model", "slots", "busy", "last beat")
    for name, card in sorted(workers.items()):
        beat = card.get("beat")
        ago = f"{max(0.0, time() - beat / 1000):.1f} s ago" if isinstance(beat, int | float) else "unknown"
        table.add_row(*map(foreign, (name, card.get("model"), card.get("slots"), card.get("busy"), ago)))
    console.print(table if workers else "no workers")
    return 0


def _card(raw: bytes) -> dict[str, Any]:
    """A worker's line; empty where it is none."""
    try:
        card = json.loads(raw)
    except (ValueError, RecursionError):
        card = None
    return card if isinstance(card, dict) else {}


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
    """What a person needs to know of a dead letter; the text stays out of terminals and logs."""
    shown = {"id": dead_id.decode()}
    for name, value in zip(flat[::2], flat[1::2], strict=True):
        if name != b"text":
            shown.setdefault(name.decode("utf-8", "replace")[:128], value.decode("utf-8", "replace")[:128])
    return shown


async def _redrive(link: Link, keys: Keys, dead_ids: list[str]) -> int:
    """Publish anew, then take the letter out: a crash between the two leaves both, and job_id makes that harmless."""
    n = 0
    missing = []
    if dead_ids:
        for dead_id in dead_ids:
            found = await link.call("XRANGE", keys.dead, dead_id, dead_id)
            if not found:
                missing.append(dead_id)
            for letter_id, flat in found:
                await _publish_again(link, keys, letter_id, flat)
                n += 1
    else:
        newest = await link.call("XREVRANGE", keys.dead, "+", "-", "COUNT", 1)
        last = newest[0][0] if newest else "0"  # what dies again meanwhile stays
        while letters := await link.call("XRANGE", keys.dead, "-", last, "COUNT", PAGE):
            for letter_id, flat in letters:
                await _publish_again(link, keys, letter_id, flat)
                n += 1
    print(f"published {n} dead jobs anew")
    for dead_id in missing:
        complain(f"there is no dead letter {dead_id}")
    return 1 if missing else 0


async def _publish_again(link: Link, keys: Keys, letter_id: bytes, flat: list[bytes]) -> None:
    pairs = [pair for pair in zip(flat[::2], flat[1::2], strict=True) if pair[0] not in EXTRA]
    fields = [word for pair in pairs for word in pair]
    session_id, job_id = session_id_of(fields), field_of(fields, "job_id")
    if job_id is not None:
        seen = sha1((session_id or "").encode() + b" " + job_id, usedforsecurity=False).hexdigest()
        await link.call("DEL", keys.seen_prefix + seen)
    await link.call("XADD", keys.jobs, "*", *fields)
    await link.call("XDEL", keys.dead, letter_id)
