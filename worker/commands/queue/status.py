"""`queue status`: the queue's depths, its damage, and the workers."""

from __future__ import annotations

import json
from dataclasses import asdict
from time import time
from typing import Any

from rich.table import Table

from worker.commands.queue.operator import on_queue
from worker.commands.terminal import foreign, table_console
from worker.settings import Settings
from worker.stream.depths import read_depths
from worker.stream.integrity.check import IntegrityReport, check_job_plane
from worker.stream.integrity.kinds import Kind
from worker.stream.integrity.pages import scan_pairs
from worker.stream.integrity.scan import beat_of
from worker.stream.keys import Keys
from worker.stream.transport.base import Link
from worker.stream.transport.retry import PASSING, Refusal

MAX_CARDS = 10_000
MAX_CELL = 128
_KEY_OF = {"unsettled": "jobs", "running": "jobs", "oldest_s": "jobs"}  # other depths have their key's name


def status(settings: Settings, as_json: bool) -> int:
    return on_queue(settings, lambda link, keys: _status(link, keys, as_json))


async def _status(link: Link, keys: Keys, as_json: bool) -> int:
    depths = asdict(await read_depths(link, keys))
    workers = await _cards(link, keys)
    found = await check_job_plane(link, keys)
    if as_json:
        print(json.dumps({**depths, "workers": workers, **report(found)}))
        return 0
    console = table_console()
    for name, value in depths.items():
        shown = f"{value:.1f}" if isinstance(value, float) else value
        console.print(foreign(f"{name:>10} {_unreadable(found, name) if value is None else shown}"), soft_wrap=True)
    for line in lines(found):
        console.print(foreign(line), soft_wrap=True)
    table = Table("worker", "model", "slots", "busy", "last beat")
    for name, card in sorted(workers.items()):
        cells = (name, card.get("model"), card.get("slots"), card.get("busy"), _ago(beat_of(card)))
        table.add_row(*[foreign(str(cell)[:MAX_CELL]) for cell in cells])
    console.print(table if workers else "no workers")
    return 0


def report(found: IntegrityReport) -> dict[str, Any]:
    """The integrity report as JSON."""
    return {
        "sound": found.is_sound,
        "damage": [damage.as_json() for damage in found.damage],
        "unread": found.unread,
        "notes": found.notes,
    }


def lines(found: IntegrityReport) -> list[str]:
    """The integrity report as lines of text."""
    if found.is_sound:
        first = "the queue is sound"
    elif found.damage:
        first = "the queue is damaged; run makima-tts queue repair to list the repairs:"
    else:
        first = "the queue could not be checked completely:"
    rights = "; use the user `operator` of deploy/redis/users.acl"
    return [
        first,
        *[damage.sentence for damage in found.damage],
        *[f"not checked: {why}{rights}" for why in found.unread],
        *found.notes,
    ]


def _unreadable(found: IntegrityReport, name: str) -> str:
    key = _KEY_OF.get(name, name)
    odd = [damage.detail for damage in found.damage if (damage.name, damage.kind) == (key, Kind.OTHER_TYPE)]
    return f"unreadable: {odd[0] if odd else 'Redis refuses the command'}"


def _ago(beat_ms: float | None) -> str:
    if beat_ms is None:
        return "unknown"
    seconds = time() - beat_ms / 1000
    return f"{max(0.0, seconds):.1f} s ago" if seconds > -60 else "in the future"


async def _cards(link: Link, keys: Keys) -> dict[str, dict[str, Any]]:
    """The workers' cards by name; empty where they cannot be read."""
    found: dict[str, dict[str, Any]] = {}
    try:
        async for name, raw in scan_pairs(link, "HSCAN", keys.workers):
            found[name.decode("utf-8", "replace")] = _card(raw)
            if len(found) == MAX_CARDS:
                break
    except Refusal as error:  # the integrity report has the reason
        if isinstance(error, PASSING):
            raise
    return found


def _card(raw: bytes) -> dict[str, Any]:
    """A worker's card; empty where it is not a JSON object, or has numbers that JSON cannot express."""
    try:
        card = json.loads(raw)
        json.dumps(card, allow_nan=False)
    except (ValueError, RecursionError):
        return {}
    return card if isinstance(card, dict) else {}
