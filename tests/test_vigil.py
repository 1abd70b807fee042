"""What wakes an utterance that waits, without a server: a watch that returns what a test gives it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, cast

import pytest

from schemas.errors import ErrorCode, JobError
from worker.stream.session_writer import CancelRequested
from worker.stream.transport.retry import MissingRight
from worker.stream.watch import WatchAnswer, WrongTextKey
from worker.utterance.vigil import Vigil


class Watch:
    """Gives its answers in turn, then nothing for ever."""

    def __init__(self, *answers: WatchAnswer | Exception) -> None:
        self.answers = deque(answers)
        self.asked: list[tuple[bytes, str | None]] = []
        self.is_closed = False

    async def wait(self, timeout_s: float, epoch: bytes, text_after: str | None) -> WatchAnswer:
        self.asked.append((epoch, text_after))
        if not self.answers:
            await asyncio.Event().wait()
        answer = self.answers.popleft()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def close(self) -> None:
        self.is_closed = True


class Writer:
    """Counts its looks; the given one raises."""

    epoch = b"17"

    def __init__(self, ends_at: int = 0) -> None:
        self.n_looks = 0
        self.ends_at = ends_at

    async def look(self) -> None:
        self.n_looks += 1
        if self.n_looks == self.ends_at:
            raise CancelRequested


def vigil_of(watch: Watch, writer: Writer, pieces: list[Sequence[bytes]] | None = None) -> Vigil:
    def take(fields: Sequence[bytes]) -> Iterator[bool]:
        if fields == [b"bad"]:
            raise JobError(ErrorCode.INVALID_FIELD, "bad", "text", "mend it")
        cast(Any, pieces).append(fields)
        yield fields != [b"last"]

    return Vigil(cast(Any, watch), cast(Any, writer), None if pieces is None else take)


FOREIGN = WatchAnswer(foreign=(b"18-0", [b"type", b"cancel"]))


async def test_pieces_are_taken_up_to_the_last_and_read_after_the_one_before() -> None:
    pieces: list[Sequence[bytes]] = []
    watch = Watch(
        WatchAnswer(((b"5-0", [b"one"]), (b"6-0", [b"two"]))), WatchAnswer(((b"7-0", [b"last"]), (b"8-0", [b"more"])))
    )
    vigil = vigil_of(watch, Writer(), pieces)
    while len(pieces) < 3:
        await vigil.wait(5)
    await asyncio.sleep(0)
    assert pieces == [[b"one"], [b"two"], [b"last"]]
    assert [after for _, after in watch.asked] == ["0", "6-0", None]
    await vigil.close()
    assert watch.is_closed


async def test_an_entry_of_another_writer_makes_the_waiting_one_look() -> None:
    writer = Writer(ends_at=2)
    vigil = vigil_of(Watch(FOREIGN, FOREIGN), writer)
    await vigil.wait(5)
    assert writer.n_looks == 1
    with pytest.raises(CancelRequested):
        await vigil.wait(5)
    await vigil.close()


async def test_a_wait_ends_at_its_time() -> None:
    writer = Writer()
    vigil = vigil_of(Watch(), writer)
    await vigil.wait(0.01)
    assert writer.n_looks == 0
    await vigil.close()


async def test_a_bad_piece_is_raised_at_every_wait() -> None:
    vigil = vigil_of(Watch(WatchAnswer(((b"5-0", [b"bad"]),))), Writer(), [])
    for _ in range(2):
        with pytest.raises(JobError, match="mend it"):
            await vigil.wait(5)
    await vigil.close()


async def test_a_key_of_another_type_is_the_publishers_mistake() -> None:
    vigil = vigil_of(Watch(WrongTextKey("the key k holds another type than a stream")), Writer(), [])
    with pytest.raises(JobError) as refused:
        await vigil.wait(5)
    assert (refused.value.code, refused.value.field) == (ErrorCode.INVALID_FIELD, "text_from")
    await vigil.close()


async def test_without_the_right_to_read_sessions_a_held_speech_looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.utterance.vigil.POLL_S", 0.001)
    writer = Writer(ends_at=3)
    vigil = vigil_of(Watch(*[MissingRight("no permissions to run xread")] * 3), writer)
    for _ in range(2):
        await vigil.wait(5)
    with pytest.raises(CancelRequested):
        await vigil.wait(5)
    assert writer.n_looks == 3
    await vigil.close()


async def test_a_text_is_read_on_when_the_right_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.utterance.vigil.POLL_S", 0.001)
    pieces: list[Sequence[bytes]] = []
    vigil = vigil_of(Watch(MissingRight("for a moment"), WatchAnswer(((b"5-0", [b"one"]),))), Writer(), pieces)
    while not pieces:
        await vigil.wait(5)
    await vigil.close()


async def test_without_the_right_to_read_sessions_an_open_text_ends_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("worker.utterance.vigil.RIGHTS_S", 0.0)
    vigil = vigil_of(Watch(MissingRight("no permissions to run xread")), Writer(), [])
    with pytest.raises(JobError) as refused:
        await vigil.wait(5)
    assert refused.value.code is ErrorCode.INTERNAL
    assert "deploy/redis" in refused.value.message
    await vigil.close()


async def test_a_long_wait_looks_at_the_session_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.utterance.vigil.LOOK_S", 0.05)
    writer = Writer()
    vigil = vigil_of(Watch(), writer)
    async with asyncio.timeout(20):
        while writer.n_looks < 3:
            await vigil.wait(3600)
    await vigil.close()
