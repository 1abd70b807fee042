"""The process of a text: it streams, waits for its reader, ends with it, and every failure of it is named."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import espeakng_loader
import pytest

from tests.conftest import REPOSITORY
from tests.processes import children_of, is_running, n_descriptors, resident_kb, until
from tests.test_espeak import TEXTS, samples_of, say, wait_for_first
from worker.engine.base import EngineError, VoiceUnavailable
from worker.engine.preview import espeak as module
from worker.engine.preview.espeak import Espeak, EspeakStream, Library, Request

LONG = "The quick brown fox jumps over the lazy dog, and nobody is surprised. " * 60
PROGRAM = "espeak_process.py"


@pytest.fixture
def espeak() -> Espeak:
    return Espeak()


def processes(of: int | None = None) -> list[int]:
    return children_of(of or os.getpid(), PROGRAM)


def begun(espeak: Espeak, text: str = LONG) -> tuple[EspeakStream, int]:
    """A text whose first samples have come, and its process."""
    before = set(processes())
    stream = espeak.speak(Request(text, "en"))
    wait_for_first(stream)
    [pid] = set(processes()) - before
    return stream, pid


def substitute(monkeypatch: pytest.MonkeyPatch, folder: Path, program: str) -> Espeak:
    """An Espeak that runs this program."""
    file = folder / PROGRAM
    file.write_text(program)
    monkeypatch.setattr(module, "_PROGRAM", file)
    return Espeak()


def test_samples_stream_before_the_text_is_spoken_to_its_end(espeak: Espeak) -> None:
    stream = espeak.speak(Request(LONG, "en"))
    assert wait_for_first(stream)
    assert not stream.ended
    stream.close()


def test_a_process_ends_with_its_text(espeak: Espeak) -> None:
    say(espeak, "Hello")
    assert processes() == []


def test_closing_ends_the_process_at_once(espeak: Espeak) -> None:
    begin = [begun(espeak) for _ in range(4)]
    for stream, _ in begin:
        stream.close()
        stream.close()
    assert not any(is_running(pid) for _, pid in begin)


def test_a_slow_reader_holds_its_process_back_and_misses_nothing(espeak: Espeak) -> None:
    slow = espeak.speak(Request(LONG, "en"))
    whole = say(espeak, LONG)
    assert any(say(espeak, "Somebody else is not held up."))
    assert len(processes()) == 1
    assert samples_of(slow) == [whole]


def test_a_killed_process_is_an_error_of_its_text_alone(espeak: Espeak) -> None:
    other = espeak.speak(Request(LONG, "en"))
    stream, pid = begun(espeak)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(EngineError, match="signal 9"):
        samples_of(stream)
    assert samples_of(other) == [say(espeak, LONG)]


def test_a_frozen_process_is_given_up(espeak: Espeak, monkeypatch: pytest.MonkeyPatch) -> None:
    stream, pid = begun(espeak)
    os.kill(pid, signal.SIGSTOP)
    monkeypatch.setattr(module, "_ANSWER_S", 0.2)
    with pytest.raises(EngineError, match="no samples"):
        samples_of(stream)
    assert not is_running(pid)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_meant_for_the_worker_do_not_end_a_text(espeak: Espeak, number: int) -> None:
    stream, pid = begun(espeak)
    os.kill(pid, number)
    assert os.getpgid(pid) != os.getpgid(0)
    assert any(samples_of(stream)[0])


def test_the_processes_die_with_a_worker_killed_by_force() -> None:
    program = (
        "import time\nfrom tests.test_espeak_process import *\n"
        "e = Espeak()\nbegun(e)\nbegun(e)\nprint('begun', flush=True)\ntime.sleep(60)"
    )
    worker = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", program],
        stdout=subprocess.PIPE,
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )
    with worker:
        assert worker.stdout is not None
        worker.stdout.readline()
        family = processes(worker.pid)
        assert len(family) == 2
        worker.kill()
    assert until(lambda: not any(is_running(pid) for pid in family))


def test_a_missing_loader_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(EngineError, match=r"makima-tts\[preview\]"):
        Library.find()


def test_a_missing_library_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(espeakng_loader, "get_library_path", lambda: str(tmp_path / "gone.so"))
    with pytest.raises(EngineError, match="reinstall"):
        Library.find()


@pytest.mark.parametrize("has_data", [True, False])
def test_a_library_that_cannot_be_used_says_what_to_do(
    has_data: bool, espeak: Espeak, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "libespeak-ng.so"
    broken.write_bytes(b"no library" if has_data else Path(espeakng_loader.get_library_path()).read_bytes())
    if has_data:
        (tmp_path / "espeak-ng-data").symlink_to(espeakng_loader.get_data_path())
    monkeypatch.setattr(espeakng_loader, "get_library_path", lambda: str(broken))
    with pytest.raises(EngineError, match="reinstall") as refused:
        espeak.check_installed()
    assert not isinstance(refused.value, VoiceUnavailable)
    assert "\n" not in str(refused.value)


def test_a_system_without_posix_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "name", "nt")
    with pytest.raises(EngineError, match="POSIX"):
        Library.find()


def test_an_interpreter_that_cannot_be_started_is_a_clear_error(
    espeak: Espeak, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_before = n_descriptors()
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with pytest.raises(EngineError, match="cannot be started"):
        espeak.check_installed()
    assert n_descriptors() == n_before


@pytest.mark.parametrize(
    ("program", "reason"),
    [("raise OSError('oops')", "oops"), ("import sys; sys.exit(5)", "status 5"), ("import os; os.abort()", "signal 6")],
)
def test_a_process_that_fails_is_an_error_with_its_reason(
    program: str, reason: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(EngineError, match=reason):
        substitute(monkeypatch, tmp_path, program).check_installed()


@pytest.mark.slow
def test_hundreds_of_texts_leave_no_memory_descriptor_or_process_behind(espeak: Espeak) -> None:
    def speak_many(n: int) -> None:
        for i in range(n):
            voices = list(TEXTS)[i % 3 : i % 3 + 4]
            streams = [espeak.speak(Request(TEXTS[voice], voice)) for voice in voices]
            streams.pop().close()
            samples_of(*streams)

    speak_many(20)
    descriptors, before_kb = n_descriptors(), resident_kb(os.getpid())
    speak_many(60)
    assert n_descriptors() == descriptors
    assert processes() == []
    assert resident_kb(os.getpid()) - before_kb < 4000
