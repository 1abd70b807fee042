"""Utterances speak together, a suspect alone; nobody waits for ever, whoever is cancelled."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from worker.utterance.admission import Admission, WorkerReserved


class Party:
    """Utterances on one floor; keeps the law at every moment: while a suspect speaks, nobody else has a seat."""

    def __init__(self) -> None:
        self.admission = Admission()
        self.present: list[str] = []
        self.delivery: list[str] = []
        self.sent_away: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self._ends: dict[str, asyncio.Event] = {}

    async def comes(self, *names: str) -> None:
        """A name that begins with suspect is one."""
        for name in names:
            self._ends[name] = asyncio.Event()
            self.tasks[name] = asyncio.create_task(self._utterance(name))
        await rest()

    async def falls_silent(self, name: str) -> None:
        self._ends[name].set()
        await rest()

    async def is_cancelled(self, name: str) -> None:
        self.tasks[name].cancel()
        await rest()

    async def _utterance(self, name: str) -> None:
        with self.admission.permit() as permit:
            self.present.append(name)
            try:
                await permit.may_speak(name.startswith("suspect"))
                if name.startswith("suspect"):
                    assert self.present == [name]
                assert not any(other.startswith("suspect") for other in self.delivery)
                self.delivery.append(name)
                await self._ends[name].wait()
            except WorkerReserved:
                self.sent_away.append(name)
            finally:
                self.present.remove(name)
                if name in self.delivery:
                    self.delivery.remove(name)


async def rest() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_utterances_speak_together() -> None:
    party = Party()
    await party.comes("a", "b", "c")
    assert party.delivery == ["a", "b", "c"]
    assert not party.admission.is_reserved
    for name in ("a", "b", "c"):
        await party.falls_silent(name)


async def test_a_suspect_waits_for_the_others_and_sends_away_those_who_come_while_it_speaks() -> None:
    party = Party()
    await party.comes("a", "suspect")
    assert party.delivery == ["a"]
    assert party.admission.is_reserved
    await party.comes("b")
    assert party.delivery == ["a", "b"], "who goes on from where another left off does not wait for a suspect's turn"
    await party.falls_silent("a")
    await party.falls_silent("b")
    assert party.delivery == ["suspect"]
    await party.comes("c")
    assert party.sent_away == ["c"]
    await party.falls_silent("suspect")
    assert not party.admission.is_reserved
    await party.comes("d")
    assert party.delivery == ["d"]
    await party.falls_silent("d")


async def test_of_several_suspects_one_stays() -> None:
    party = Party()
    await party.comes("suspect 1", "suspect 2", "suspect 3")
    assert party.delivery == ["suspect 1"]
    assert party.sent_away == ["suspect 2", "suspect 3"]
    await party.falls_silent("suspect 1")


async def test_a_worker_with_more_jobs_than_slots_keeps_no_suspect() -> None:
    party = Party()
    party.admission = Admission(lambda: len(party.tasks) > 2)
    await party.comes("a", "b", "suspect", "c")
    assert party.delivery == ["a", "b", "c"]
    assert party.sent_away == ["suspect"]
    assert not party.admission.is_reserved
    for name in ("a", "b", "c"):
        await party.falls_silent(name)


async def test_a_suspect_that_is_cancelled_frees_the_floor() -> None:
    party = Party()
    await party.comes("a", "suspect 1")
    await party.is_cancelled("suspect 1")
    assert not party.admission.is_reserved
    await party.comes("suspect 2")
    await party.falls_silent("a")
    assert party.delivery == ["suspect 2"]
    await party.is_cancelled("suspect 2")
    assert not party.admission.is_reserved


@given(st.lists(st.tuples(st.sampled_from(["one", "suspect", "ends", "cancelled"]), st.integers(0, 9)), max_size=30))
def test_whatever_happens_a_suspect_speaks_alone_and_nobody_waits_for_ever(steps: list[tuple[str, int]]) -> None:
    async def run() -> None:
        party = Party()
        for n, (what, which) in enumerate(steps):
            names = list(party.tasks)
            if what in ("one", "suspect"):
                await party.comes(f"{what} {n}")
            elif what == "ends" and party.delivery:
                await party.falls_silent(party.delivery[which % len(party.delivery)])
            elif what == "cancelled" and names:
                await party.is_cancelled(names[which % len(names)])
        while party.delivery:
            await party.falls_silent(party.delivery[0])
        assert all(task.done() for task in party.tasks.values())
        assert not any(task.exception() for task in party.tasks.values() if not task.cancelled())
        assert not party.admission.is_reserved

    asyncio.run(run())
