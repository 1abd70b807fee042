"""The text of an open utterance on its way through a relay: every piece is written once, in few entries."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from worker.relay.jobs import MAX_PIECE_CHARS, MAX_TEXT_CHARS, PendingText
from worker.stream.text_writer import MAX_PIECE_BYTES, TextWriter
from worker.stream.transport.base import Word

NOT_ABOVE = "The ID specified in XADD is equal or smaller than the target stream top item"


class Stream:
    """A link to a Redis that holds one text. failures: what becomes of the next XADDs, the last one first."""

    n_breaks = 0
    is_connected = True

    def __init__(self) -> None:
        self.entries: list[tuple[str, bytes | str]] = []
        self.failures: list[str] = []
        self.scripts: set[str] = set()

    async def call(self, *command: Word) -> Any:
        if command[0] != "XADD":
            return 1
        failure = self.failures.pop() if self.failures else ""
        if failure == "lost":
            raise redis.ConnectionError("the command did not arrive")
        number, name, value = (str(command[-3]), str(command[-2]), command[-1])
        if number != f"{len(self.entries) + 1}-0":
            raise redis.ResponseError(NOT_ABOVE)
        assert isinstance(value, (bytes, str))
        self.entries.append((name, value))
        if failure == "unanswered":
            raise redis.ConnectionError("the reply did not arrive")
        return number.encode()

    async def transaction(self, *commands: tuple[Word, ...]) -> list[Any]:
        raise NotImplementedError

    async def close(self) -> None: ...

    @property
    def text(self) -> str:
        return b"".join(value for name, value in self.entries if name == "text" and isinstance(value, bytes)).decode()

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.entries]


@pytest.fixture
def stream() -> Stream:
    return Stream()


@pytest.fixture
def pending(stream: Stream) -> PendingText:
    return PendingText(TextWriter(stream, "text", repeat_s=0.0))


async def test_pieces_that_wait_are_written_together(stream: Stream, pending: PendingText) -> None:
    for piece in ("Good", " mor", "ning."):
        pending.add(piece)
    await pending.write()
    pending.add(" Bye.")
    pending.end()
    pending.add("Too late.")
    await pending.write()
    assert stream.entries == [("text", b"Good morning."), ("text", b" Bye."), ("end", "1")]


async def test_a_flush_keeps_its_place_and_a_second_one_is_left_out(stream: Stream, pending: PendingText) -> None:
    for change in (
        pending.flush,
        lambda: pending.add("One."),
        pending.flush,
        pending.flush,
        lambda: pending.add("Two."),
    ):
        change()
    pending.flush()
    await pending.write()
    pending.flush()
    await pending.write()
    assert stream.names == ["flush", "text", "flush", "text", "flush"]


async def test_no_entry_is_longer_than_a_writer_writes_at_once(stream: Stream, pending: PendingText) -> None:
    text = "話" * (3 * MAX_PIECE_CHARS + 5)
    pending.add(text)
    await pending.write()
    assert stream.text == text
    assert all(len(value) <= MAX_PIECE_BYTES for _, value in stream.entries)


async def test_what_is_longer_than_every_workers_limit_is_dropped(stream: Stream, pending: PendingText) -> None:
    for _ in range(40):
        pending.add("x" * 10_000)
    await pending.write()
    assert MAX_TEXT_CHARS < len(stream.text) <= MAX_TEXT_CHARS + 10_000


@pytest.mark.parametrize("failure", ["lost", "unanswered"])
@pytest.mark.parametrize("n_before", range(4))
async def test_a_write_that_failed_is_repeated_without_loss_or_copy(
    stream: Stream, pending: PendingText, failure: str, n_before: int
) -> None:
    stream.failures = [failure] + [""] * n_before
    pending.add("One.")
    pending.flush()
    pending.add("Two.")
    pending.end()
    with pytest.raises(redis.ConnectionError):
        await pending.write()
    pending.add(" Nothing.")
    await pending.write()
    assert stream.text == "One.Two."
    assert stream.names[:4] == ["text", "flush", "text", "end"]
    assert set(stream.names[4:]) <= {"end"}  # which a reader ignores


async def test_a_text_of_another_program_stops_nothing(stream: Stream, pending: PendingText) -> None:
    stream.entries = [("text", b"somebody else's")]
    pending.add("One.")
    await pending.write()
    assert stream.text == "somebody else's"
