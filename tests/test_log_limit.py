"""One kind of message does not fill the log, and none is held back without a word."""

from __future__ import annotations

import logging

from worker.observe.log_limit import BURST, MOST_KINDS, WINDOW_S, Limiter

TEMPLATE = "job %s of session %s expired"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def record(
    *arguments: object, msg: str = TEMPLATE, name: str = "worker.utterance.utterance", level: int = logging.WARNING
) -> logging.LogRecord:
    return logging.LogRecord(name, level, __file__, 1, msg, arguments, None)


def messages(records: list[logging.LogRecord]) -> list[str]:
    return [one.getMessage() for one in records]


def test_a_burst_passes_and_one_line_stands_for_the_rest() -> None:
    clock = Clock()
    limiter = Limiter(clock)
    passed = [one for n in range(BURST + 37) for one in limiter.admit(record(n, "s"))]
    assert messages(passed) == [f"job {n} of session s expired" for n in range(BURST)]
    assert limiter.due() == []
    clock.now += WINDOW_S
    assert messages(limiter.due()) == [f"and 37 more like it in the last 10 s: {TEMPLATE}"]
    assert limiter.due() == []


def test_the_line_for_the_rest_comes_before_the_next_of_its_kind_and_looks_like_it() -> None:
    clock = Clock()
    limiter = Limiter(clock)
    for n in range(BURST + 2):
        limiter.admit(record(n, "s"))
    clock.now += 2 * WINDOW_S
    summary, fresh = limiter.admit(record("last", "s"))
    assert summary.getMessage().startswith("and 2 more like it in the last 20 s")
    assert (summary.name, summary.levelno) == ("worker.utterance.utterance", logging.WARNING)
    assert fresh.getMessage() == "job last of session s expired"


def test_kinds_differ_by_logger_level_and_message() -> None:
    limiter = Limiter(Clock())
    for n in range(BURST):
        limiter.admit(record(n, "s"))
    assert limiter.admit(record("x", "s")) == []
    for other in (
        record("x", "s", name="worker.service"),
        record("x", "s", level=logging.ERROR),
        record("x", msg="job %s fails"),
    ):
        assert limiter.admit(other) == [other]


def test_a_session_that_fails_fifty_times_a_second_writes_about_one_line_a_second() -> None:
    clock = Clock()
    limiter = Limiter(clock)
    n_lines = 0
    for n in range(50 * 60):
        clock.now += 0.02
        n_lines += len(limiter.admit(record(n, "s"))) + len(limiter.due())
    assert 60 <= n_lines <= 70


def test_debug_messages_all_pass() -> None:
    limiter = Limiter(Clock())
    assert all(limiter.admit(record(n, "s", level=logging.DEBUG)) for n in range(100))


def test_the_end_summarises_every_burst_at_once() -> None:
    limiter = Limiter(Clock())
    for n in range(BURST + 3):
        limiter.admit(record(n, "s"))
    assert messages(limiter.due(is_end=True)) == [f"and 3 more like it in the last 1 s: {TEMPLATE}"]


def test_messages_without_end_take_no_memory_without_end() -> None:
    limiter = Limiter(Clock())
    for n in range(10 * MOST_KINDS):
        assert limiter.admit(record(msg=f"a library's own words {n}"))
    assert len(limiter._windows) <= MOST_KINDS
