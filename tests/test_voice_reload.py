"""Voices are read again beside the event loop, one time after the other, and the last request counts."""

from __future__ import annotations

import asyncio
import logging
import threading
from pathlib import Path
from typing import cast

import pytest

from tests.conftest import eventually
from worker.voices.card import Card
from worker.voices.registry import Registry, RegistryError
from worker.voices.reload import VoiceReload


class Folder:
    """A registry whose reading waits for `may_end`; each is numbered."""

    def __init__(self, number: int = 0, like: Folder | None = None) -> None:
        self.number = number
        self.shared: Folder = like.shared if like is not None else self
        if like is None:
            self.may_end = threading.Event()
            self.n_read = self.n_reading = self.most_reading = 0
            self.problem: Exception | None = None

    def reload(self) -> Folder:
        shared = self.shared
        shared.n_reading += 1
        shared.most_reading = max(shared.most_reading, shared.n_reading)
        shared.may_end.wait(20)
        shared.n_reading -= 1
        shared.n_read += 1
        if shared.problem is not None:
            raise shared.problem
        return Folder(shared.n_read, like=shared)

    def __iter__(self) -> object:
        return iter([])

    names = ("a", "b")


def reload_of(folder: Folder, changes: list[list[Card]]) -> VoiceReload:
    return VoiceReload(cast(Registry, folder), changes.append)


async def test_the_event_loop_goes_on_while_voices_are_read_and_the_last_request_counts() -> None:
    folder = Folder()
    changes: list[list[Card]] = []
    voices = reload_of(folder, changes)
    voices.ask()
    await eventually(lambda: folder.n_reading == 1)
    for _ in range(5):
        voices.ask()
    await asyncio.sleep(0.05)
    assert changes == []
    assert voices.in_use is cast(Registry, folder)
    folder.may_end.set()
    await eventually(lambda: len(changes) == 2)
    assert folder.n_read == 2, "what was asked for while it was read is read once, after it"
    assert folder.most_reading == 1
    assert cast(Folder, voices.in_use).number == 2
    voices.ask()
    await eventually(lambda: len(changes) == 3)


@pytest.mark.parametrize(
    "problem", [RegistryError(Path("voices"), ("a is broken",)), PermissionError("voices")], ids=["card", "folder"]
)
async def test_what_cannot_be_read_leaves_the_old_voices_and_says_so(
    problem: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    folder = Folder()
    folder.may_end.set()
    folder.problem = problem
    changes: list[list[Card]] = []
    voices = reload_of(folder, changes)
    with caplog.at_level(logging.ERROR):
        voices.ask()
        await eventually(lambda: "stay in use" in caplog.text)
    assert (changes, voices.in_use) == ([], cast(Registry, folder))
    folder.problem = None
    voices.ask()
    await eventually(lambda: len(changes) == 1)
