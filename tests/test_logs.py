"""Logs: one line an event, nothing secret, nothing forged."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator

import pytest

from tests.processes import full_pipe
from worker.observe.logs import TextLines, configure

Configure = Callable[[str, str], io.StringIO]


@pytest.fixture
def configured() -> Iterator[Configure]:
    root = logging.getLogger()
    before = (list(root.handlers), root.level, logging.getLogger("worker").level)

    def configure_here(level: str, log_format: str) -> io.StringIO:
        stream = io.StringIO()
        configure(level, log_format, stream)
        return stream

    yield configure_here
    root.handlers[:], level, ours = before[0], before[1], before[2]
    root.setLevel(level)
    logging.getLogger("worker").setLevel(ours)
    logging.captureWarnings(False)


log = logging.getLogger("worker.test")


def fail(error: Exception) -> None:
    raise error


def test_text_lines_hold_time_level_logger_message_and_fields(configured: Configure) -> None:
    stream = configured("info", "text")
    log.info("utterance %s", "complete", extra={"session_id": "s1", "rtf": 0.123456, "voice": "two words"})
    time, rest = stream.getvalue().split(" ", 1)
    assert len(time) == len("2026-01-31T12:00:00.123Z")
    assert rest == 'INFO worker.test  utterance complete  session_id=s1  rtf=0.1235  voice="two words"\n'


def test_json_lines_hold_the_same(configured: Configure) -> None:
    stream = configured("info", "json")
    log.warning("こんにちは", extra={"session_id": "s1", "samples": 7, "rtf": 0.5, "voice": None, "where": [1]})
    line = json.loads(stream.getvalue())
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "warning",
        "logger": "worker.test",
        "message": "こんにちは",
        "session_id": "s1",
        "samples": 7,
        "rtf": 0.5,
        "voice": None,
        "where": "[1]",
    }


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_jobs_text_is_logged_at_debug_level_only(configured: Configure, log_format: str) -> None:
    stream = configured("debug", log_format)
    log.info("begins", extra={"text": "a secret", "text_spoken": "a secret"})
    assert "a secret" not in stream.getvalue()
    log.debug("begins", extra={"text": "a secret"})
    assert "a secret" in stream.getvalue()


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_credentials_in_urls_are_never_shown(configured: Configure, log_format: str) -> None:
    stream = configured("debug", log_format)
    url = "redis://user:hunter2@h:1/0"
    log.error("no connection to %s", url, extra={"url": url, "urls": [url], "pair": {"a": url}})
    try:
        fail(ConnectionError(url))
    except ConnectionError:
        log.exception("failed")
    assert "hunter2" not in stream.getvalue()
    assert stream.getvalue().count("***@h:1/0") == 5


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_job_cannot_forge_a_line(configured: Configure, log_format: str) -> None:
    stream = configured("info", log_format)
    evil = "x\n2026-01-31T12:00:00.123Z INFO worker.service  forged\x1b[2J\u2028\r"
    log.info("unknown voice %s", evil, extra={"voice": evil})
    assert len(stream.getvalue().splitlines()) == 1 or log_format == "json"
    assert stream.getvalue().count("\n") == 1
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_traceback_follows_its_line(configured: Configure, log_format: str) -> None:
    stream = configured("info", log_format)
    try:
        fail(ValueError("because"))
    except ValueError:
        log.exception("failed")
    assert "ValueError: because" in stream.getvalue()
    if log_format == "json":
        assert "ValueError: because" in json.loads(stream.getvalue())["trace"]


def test_our_level_is_chosen_and_others_show_warnings_only(configured: Configure) -> None:
    stream = configured("warning", "text")
    log.info("not shown")
    logging.getLogger("somebody.else").info("not shown")
    logging.getLogger("somebody.else").warning("shown")
    assert stream.getvalue().count("\n") == 1


def test_configuring_again_replaces_the_first(configured: Configure) -> None:
    first = configured("info", "text")
    second = configured("debug", "json")
    log.debug("once")
    assert first.getvalue() == ""
    assert json.loads(second.getvalue())["message"] == "once"


def test_python_warnings_become_log_lines(configured: Configure) -> None:
    stream = configured("info", "json")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("old habit", stacklevel=1)
        logging.captureWarnings(False)
    assert "old habit" in json.loads(stream.getvalue())["message"]


def test_arguments_that_do_not_fit_a_message_are_a_line_and_no_traceback_on_stderr(
    configured: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = configured("info", "text")
    wrong = logging.LogRecord("worker.test", logging.INFO, __file__, 1, "%d jobs", ("many",), None)
    [handler] = [handler for handler in logging.getLogger().handlers if isinstance(handler.formatter, TextLines)]
    handler.handle(wrong)
    assert "a log line of worker.test cannot be formatted" in stream.getvalue()
    assert capsys.readouterr().err == ""


def test_many_lines_of_one_kind_become_a_few_and_a_summary(configured: Configure) -> None:
    stream = configured("info", "text")
    for n in range(400):
        log.warning("job %s of session %s expired", n, "s")
    for handler in logging.getLogger().handlers:
        handler.flush()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 11
    assert "and 390 more like it" in lines[-1]


WRITES = """
import logging, sys
from tests.processes import full_pipe
from worker.observe.logs import TextLines, configure
configure(*sys.argv[1:])
for n in range(1000):
    logging.getLogger("worker.test").info(f"line {n}")
"""


def test_what_was_logged_before_a_normal_end_is_written_in_order() -> None:
    done = subprocess.run([sys.executable, "-c", WRITES], capture_output=True, text=True, check=True, timeout=60)
    assert [line.rpartition("  ")[2] for line in done.stderr.splitlines()] == [f"line {n}" for n in range(1000)]


def test_a_process_whose_stderr_is_not_read_still_ends() -> None:
    with full_pipe() as stderr:
        done = subprocess.run([sys.executable, "-c", WRITES], stderr=stderr, check=False, timeout=60)
    assert done.returncode == 0
