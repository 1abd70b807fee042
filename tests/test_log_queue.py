"""The log queue: no caller waits, no line is reordered, and dropped lines are counted."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from worker.observe.log_queue import LINE_CHARS, MOST_CHARS, MOST_LINES, LineQueue, write_all


class Reader:
    """Reads lines, or does not."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.reads = threading.Event()
        self.is_asked = threading.Event()

    def take(self, line: str) -> None:
        self.is_asked.set()
        self.reads.wait()
        self.lines.append(line)


def note(n: int) -> str:
    return f"{n} dropped"


@contextmanager
def stuck() -> Iterator[tuple[Reader, LineQueue]]:
    """A queue whose thread waits for a reader with the line "first"."""
    reader = Reader()
    queue = LineQueue(reader.take, note)
    queue.put("first")
    assert reader.is_asked.wait(10)
    try:
        yield reader, queue
    finally:
        reader.reads.set()


def test_lines_are_written_in_the_order_in_which_they_were_put() -> None:
    reader = Reader()
    reader.reads.set()
    queue = LineQueue(reader.take, note)
    expected = [str(n) for n in range(500)]
    for line in expected:
        queue.put(line)
    assert queue.flush()
    assert reader.lines == expected
    assert queue.n_dropped == 0


def test_lines_that_do_not_fit_are_dropped_and_counted_where_they_are_missing() -> None:
    with stuck() as (reader, queue):
        for n in range(MOST_LINES + 37):
            queue.put(str(n))
        assert queue.n_dropped == 37
        reader.reads.set()
        assert queue.flush()
        queue.put("later")
        assert queue.flush()
    kept = [str(n) for n in range(MOST_LINES)]
    assert reader.lines == ["first", *kept, "37 dropped", "later"]
    assert queue.n_dropped == 37


def test_long_lines_fill_the_queue_too_and_the_longest_are_cut() -> None:
    with stuck() as (reader, queue):
        n_fit = MOST_CHARS // LINE_CHARS - 1
        for _ in range(n_fit + 5):
            queue.put("x" * (LINE_CHARS + 1000))
        assert queue.n_dropped == 5
        reader.reads.set()
        assert queue.flush()
    assert [len(line) for line in reader.lines[1:-1]] == [LINE_CHARS + 3] * n_fit
    assert reader.lines[-1] == "5 dropped"


def test_a_flush_gives_up_on_a_reader_that_does_not_read() -> None:
    with stuck() as (_, queue):
        queue.put("second")
        assert not queue.flush()


def test_the_thread_ticks_where_nothing_is_logged() -> None:
    ticked = threading.Event()
    queue = LineQueue(lambda line: None, note, ticked.set)
    queue.put("first")
    assert ticked.wait(20)


def test_a_pipe_that_does_not_block_is_written_to_the_last_byte() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    data = bytes(range(256)) * 1000
    thread = threading.Thread(target=write_all, args=(writer, data))
    thread.start()
    read = b""
    while len(read) < len(data):
        read += os.read(reader, 100_000)
    thread.join()
    assert read == data
    os.close(reader)
    write_all(writer, data)  # a reader that is gone is passed over
    os.close(writer)
