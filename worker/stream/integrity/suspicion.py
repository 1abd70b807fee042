"""Suspicions of damage, and their recheck in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from worker.stream.integrity.kinds import Item, Kind
from worker.stream.transport.base import Link, Word

PER_TRANSACTION = 16  # suspicions; some commands read a whole list
MAX_RECHECKED = 2000  # suspicions per key and kind; the check after a repair finds the rest
SAMPLE = 100  # of malformed items, which are damage at any time: if some remain, all count


@dataclass(frozen=True, slots=True)
class Suspicion:
    """One item that looks damaged. is_damaged: judges the answers to `commands`."""

    name: str
    kind: Kind
    item: Item
    commands: tuple[tuple[Word, ...], ...]
    is_damaged: Callable[[list[Any]], bool]


async def confirmed(link: Link, suspicions: Sequence[Suspicion]) -> list[Suspicion]:
    """The suspicions that hold when checked again. One whose key has changed its type is left to the next check."""
    groups: dict[tuple[str, Kind], list[Suspicion]] = {}
    for one in suspicions:
        groups.setdefault((one.name, one.kind), []).append(one)
    found = []
    for (_, kind), ones in groups.items():
        is_timeless = kind is Kind.UNWRITTEN
        rechecked = ones[: SAMPLE if is_timeless else MAX_RECHECKED]
        damaged = await _recheck(link, rechecked)
        found += damaged
        if is_timeless and damaged:
            found += ones[len(rechecked) :]
    return found


async def _recheck(link: Link, suspicions: Sequence[Suspicion]) -> list[Suspicion]:
    found = []
    for start in range(0, len(suspicions), PER_TRANSACTION):
        some = suspicions[start : start + PER_TRANSACTION]
        answers = await link.transaction(*[command for one in some for command in one.commands])
        for one in some:
            own, answers = answers[: len(one.commands)], answers[len(one.commands) :]
            if not any(isinstance(answer, BaseException) for answer in own) and one.is_damaged(own):
                found.append(one)
    return found
