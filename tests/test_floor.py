"""Utterances speak together, a suspect alone; nobody waits for ever, whoever is cancelled."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from worker.floor import Floor


class Party:
    """Utterances on one floor; keeps the law at every moment: a suspect speaks alone."""

    def __init__(self) -> None:
        self.floor = Floor()
        self.speaking: list[str] = []
        self.spoke: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.ends: dict[str, asyncio.Event] = {}

    async def comes(self, name: str, is_suspect: bool = False) -> None:
        self.ends[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._utterance(name, is_suspect))
        await rest()

    async def ends_(self, name: str) -> None:
        self.ends[name].set()
        await rest()

    async def is_cancelled(self, name: str) -> None:
        self.tasks[name].cancel()
        await rest()

    async def _utterance(self, name: str, is_suspect: bool) -> None:
        async with self.floor.seat() as seat:
            await seat.may_speak(is_suspect)
            assert not (self.speaking and is_suspect)
            assert not any(other.startswith("suspect") for other in self.speaking)
            self.speaking.append(name)
            self.spoke.append(name)
            try:
                await self.ends[name].wait()
            finally:
                self.speaking.remove(name)


async def rest() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_utterances_speak_together() -> None:
    party = Party()
    for name in ("a", "b", "c"):
        await party.comes(name)
    assert party.speaking == ["a", "b", "c"]
    assert not party.floor.is_reserved
    for name in ("a", "b", "c"):
        await party.ends_(name)


async def test_a_suspect_waits_for_the_others_and_holds_back_those_who_come_while_it_speaks() -> None:
    party = Party()
    await party.comes("a")
    await party.comes("suspect", is_suspect=True)
    assert party.speaking == ["a"]
    assert party.floor.is_reserved
    await party.comes("b")
    assert party.speaking == ["a", "b"], "who goes on from where another left off does not wait for a suspect's turn"
    await party.ends_("a")
    await party.ends_("b")
    assert party.speaking == ["suspect"]
    await party.comes("c")
    assert party.speaking == ["suspect"]
    await party.ends_("suspect")
    assert party.speaking == ["c"]
    assert not party.floor.is_reserved
    await party.ends_("c")


async def test_suspects_speak_one_after_the_other() -> None:
    party = Party()
    names = [f"suspect {n}" for n in range(3)]
    for name in names:
        await party.comes(name, is_suspect=True)
    for _ in names:
        assert len(party.speaking) == 1
        await party.ends_(party.speaking[0])
    assert sorted(party.spoke) == names


async def test_a_suspect_that_is_cancelled_frees_the_floor() -> None:
    party = Party()
    await party.comes("suspect 1", is_suspect=True)
    await party.comes("suspect 2", is_suspect=True)
    await party.comes("a")
    await party.is_cancelled("suspect 2")
    await party.is_cancelled("suspect 1")
    assert party.speaking == ["a"]
    assert not party.floor.is_reserved
    await party.ends_("a")


@given(st.lists(st.tuples(st.sampled_from(["comes", "suspect", "ends", "cancelled"]), st.integers(0, 9)), max_size=30))
def test_whatever_happens_a_suspect_speaks_alone_and_everybody_in_the_end(steps: list[tuple[str, int]]) -> None:
    async def run() -> None:
        party = Party()
        cancelled = set()
        for n, (what, which) in enumerate(steps):
            names = list(party.tasks)
            if what in ("comes", "suspect"):
                await party.comes(f"{what} {n}", is_suspect=what == "suspect")
            elif what == "ends" and party.speaking:
                await party.ends_(party.speaking[which % len(party.speaking)])
            elif what == "cancelled" and names:
                cancelled.add(names[which % len(names)])
                await party.is_cancelled(names[which % len(names)])
        while party.speaking:
            await party.ends_(party.speaking[0])
        assert set(party.tasks) - cancelled <= set(party.spoke)
        assert all(task.done() for task in party.tasks.values())
        for task in party.tasks.values():
            if not task.cancelled():
                task.result()
        assert not party.floor.is_reserved

    asyncio.run(run())
