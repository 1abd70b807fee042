"""What looks damaged, and the commands that tell in one transaction whether it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from worker.stream.integrity.kinds import Item, Kind
from worker.stream.transport.base import Link, Word

AT_ONCE = 16  # suspicions asked in one transaction: some commands read a whole list
MOST = 2000  # of one kind and key that are asked: the next look finds those that are left after a repair
SAMPLE = 100  # of what no worker writes at any time, so that the rest need not be asked


@dataclass(frozen=True, slots=True)
class Suspicion:
    """is_so: told the answers to the commands, whether it is damage still."""

    name: str
    kind: Kind
    item: Item
    commands: tuple[tuple[Word, ...], ...]
    is_so: Callable[[list[Any]], bool]


async def confirmed(link: Link, suspicions: Sequence[Suspicion]) -> list[Suspicion]:
    """Those that are so. One whose key is not what it was a moment ago is left to the next look."""
    groups: dict[tuple[str, Kind], list[Suspicion]] = {}
    for one in suspicions:
        groups.setdefault((one.name, one.kind), []).append(one)
    found = []
    for (_, kind), ones in groups.items():
        is_timeless = kind is Kind.UNWRITTEN
        asked = ones[: SAMPLE if is_timeless else MOST]
        are_so = await _ask(link, asked)
        found += are_so
        if is_timeless and are_so:
            found += ones[len(asked) :]
    return found


async def _ask(link: Link, suspicions: Sequence[Suspicion]) -> list[Suspicion]:
    found = []
    for start in range(0, len(suspicions), AT_ONCE):
        some = suspicions[start : start + AT_ONCE]
        answers = await link.transaction(*[command for one in some for command in one.commands])
        for one in some:
            own, answers = answers[: len(one.commands)], answers[len(one.commands) :]
            if not any(isinstance(answer, BaseException) for answer in own) and one.is_so(own):
                found.append(one)
    return found
