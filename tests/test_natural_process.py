"""The processes of the natural voices: the same samples from any of them, and every failure is an error of its text."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.previewing import LONG, SharedNatural, card, name_of, processes_of, segment, the_process, voices_of
from tests.processes import children_of, is_running, n_descriptors, until
from worker.engine.base import EngineError, Segment, VoiceUnavailable
from worker.engine.preview.natural import choice, forked
from worker.engine.preview.natural.choice import Natural
from worker.engine.preview.natural.forked import ForkedStream, ForkedVoice
from worker.engine.preview.natural.program import END, FRAME, SAMPLES
from worker.engine.preview.synthesiser import SampleStream, wait_for_samples
from worker.voices.card import Preview

ENGLISH = segment("Hello there, 12 apples cost $3.50! And 太郎 ate them.")
JAPANESE = segment("今日は、マキマです。何を食べますか。", "Japanese")
REAL = str(forked.PROGRAM)
HAS_JAPANESE = find_spec("pyopenjtalk") is not None
needs_japanese = pytest.mark.skipif(not HAS_JAPANESE, reason="the extra preview-ja is not installed")


def samples_of(stream: SampleStream) -> bytes:
    spoken = bytearray()
    try:
        while not stream.ended:
            wait_for_samples([stream], 1.0)
            spoken += stream.read()
    finally:
        stream.close()
    return bytes(spoken)


def digests(voices: Natural) -> list[str]:
    """Of what it speaks, in an order that a state kept between texts would show in."""
    kept = [ENGLISH, JAPANESE] if HAS_JAPANESE else [ENGLISH]
    return [hashlib.sha256(samples_of(voices.begin(one))).hexdigest() for one in (*kept, *reversed(kept))]


def begun(voices: Natural, one: Segment | None = None) -> tuple[SampleStream, int]:
    """A text whose first samples have come, and its process."""
    before = processes_of()
    stream = voices.begin(one or segment(LONG))
    while not stream.read():
        wait_for_samples([stream], 1.0)
    return stream, the_process(before)


def test_a_text_sounds_the_same_in_another_process_which_writes_no_file(natural: SharedNatural, tmp_path: Path) -> None:
    """onnxruntime writes a telemetry database into the home directory unless it is switched off."""
    here = digests(natural)
    program = "from tests.test_natural_process import *\nn = Natural()\nprint(digests(n))\nn.close()"
    changed = {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2", "PYTHONHASHSEED": "1", "LANG": "C"}
    homes = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    printed = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=REPOSITORY,
        env=os.environ | changed | homes | {"PYTHONPATH": str(REPOSITORY)},
    )
    assert printed.stdout.strip() == str(here)
    assert here == here[::-1]
    assert list(tmp_path.iterdir()) == []


def test_which_voice_speaks_follows_from_the_language_and_the_script(natural: SharedNatural) -> None:
    def model(text: str, language: str) -> str:
        return natural.model(segment(text, language, card(("Japanese", "English"))))

    japanese = "openjtalk" if HAS_JAPANESE else "espeak-ng"
    assert [model("1", language) for language in ("English", "Japanese", "German")] == ["hibari", japanese, "espeak-ng"]
    texts = ("Hello there.", "こんにちは、東京。", "Привет, как дела?")
    assert [model(text, "Auto") for text in texts] == ["hibari", japanese, "espeak-ng"]


def test_without_open_jtalk_kana_are_spoken_and_kanji_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "find_spec", lambda name: None if name == "pyopenjtalk" else object())
    voices = Natural()
    kana, kanji = segment("こんにちは、マキマです。", "Japanese"), segment("今日は。", "Japanese")
    assert voices.model(kana) == voices.model(kanji) == "espeak-ng"
    assert any(samples_of(voices.begin(kana)))
    voices.check(card(("Japanese",)), "Japanese")
    with pytest.raises(VoiceUnavailable, match="preview-ja"):
        voices.begin(kanji)


def test_without_hibari_the_error_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "find_spec", lambda name: None)
    for refused in (lambda: Natural().begin(ENGLISH), lambda: Natural().check(card(), "English")):
        with pytest.raises(EngineError, match=r"makima-tts\[preview\]"):
            refused()


def test_the_rate_is_heard_and_the_seed_changes_nothing(natural: SharedNatural) -> None:
    def spoken(rate_wpm: int, seed: int = 1) -> bytes:
        voice = card(preview=Preview(rate_wpm=rate_wpm))
        return samples_of(natural.begin(Segment("One two three four five.", "English", voice, seed, 1000)))

    usual, slow, slower = spoken(175), spoken(130), spoken(90)
    assert len(slow) > 1.1 * len(usual)
    assert len(slower) == len(spoken(80))  # below 0.7 of the usual rate words blur
    assert spoken(175, seed=2) == usual


def test_a_slow_reader_holds_its_process_back_and_misses_nothing(natural: SharedNatural) -> None:
    slow, pid = begun(natural)
    assert any(samples_of(natural.begin(segment("Somebody else is not held up."))))
    assert is_running(pid)
    assert len(samples_of(slow)) > 20 * 2 * 24_000


def test_closing_ends_the_process(natural: SharedNatural) -> None:
    samples_of(natural.begin(ENGLISH))  # the process that others are forked from keeps its socket
    n_before = n_descriptors()
    stream, pid = begun(natural)
    stream.close()
    stream.close()
    assert until(lambda: not is_running(pid))
    assert n_descriptors() == n_before


def test_a_frozen_process_is_given_up_and_the_next_text_is_spoken(monkeypatch: pytest.MonkeyPatch) -> None:
    voices = Natural()
    try:
        stream, pid = begun(voices)
        os.kill(pid, signal.SIGSTOP)
        monkeypatch.setattr(forked, "ANSWER_S", 0.2)
        with pytest.raises(EngineError, match="no samples"):
            samples_of(stream)
        assert until(lambda: not is_running(pid))
        monkeypatch.undo()
        assert any(samples_of(voices.begin(ENGLISH)))
    finally:
        voices.close()


def test_a_killed_voice_process_is_started_again(natural: SharedNatural) -> None:
    samples_of(natural.begin(ENGLISH))
    stream, _ = begun(natural)
    for pid in voices_of():
        os.kill(pid, signal.SIGKILL)
    assert until(lambda: all(name_of(pid) != "python" for pid in voices_of()))
    assert any(samples_of(stream))  # a text that is being spoken goes on
    assert any(samples_of(natural.begin(ENGLISH)))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_meant_for_the_worker_end_no_voice(natural: SharedNatural, number: int) -> None:
    stream, pid = begun(natural)
    for one in (pid, *voices_of()):
        os.kill(one, number)
        assert os.getpgid(one) != os.getpgid(0)
    assert any(samples_of(stream))
    assert any(samples_of(natural.begin(ENGLISH)))


def test_the_processes_die_with_a_worker_killed_by_force() -> None:
    program = (
        "import time\nfrom tests.test_natural_process import *\n"
        "n = Natural()\nkept = begun(n)\nprint('begun', flush=True)\ntime.sleep(60)"
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
        [voice] = voices_of(worker.pid)
        family = [voice, *children_of(voice)]
        assert len(family) == 3  # it, the speaking one and the one that waits
        worker.kill()
    assert until(lambda: not any(is_running(pid) for pid in family))


@pytest.fixture
def substitute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ForkedVoice]:
    """A voice that runs the program in `tmp_path`."""
    monkeypatch.setattr(forked, "PROGRAM", tmp_path / "program.py")
    voice = ForkedVoice("english", "hibari", 24_000, "reinstall it")
    yield voice
    voice.close()


@pytest.mark.parametrize("program", ["raise OSError", "import os; os.abort()", "import sys; sys.exit(5)"])
def test_a_voice_that_does_not_start_is_an_error_with_a_remedy(
    substitute: ForkedVoice, program: str, tmp_path: Path
) -> None:
    (tmp_path / "program.py").write_text(program)
    with pytest.raises(EngineError, match="reinstall it"):
        samples_of(substitute.speak({"pieces": []}))


def test_a_package_that_cannot_be_loaded_is_named(substitute: ForkedVoice, tmp_path: Path) -> None:
    program = "import runpy, sys\nsys.modules['hibari'] = None\n" + f"runpy.run_path({REAL!r}, run_name='__main__')"
    (tmp_path / "program.py").write_text(program)
    with pytest.raises(EngineError, match="hibari"):
        samples_of(substitute.speak({"pieces": []}))


@pytest.mark.parametrize(
    "garbage",
    [b"\xff" * 9, FRAME.pack(SAMPLES, 1 << 20), FRAME.pack(SAMPLES, 3) + b"odd", FRAME.pack(SAMPLES, 8) + b"cut", b""],
)
def test_what_is_no_frame_is_an_error(garbage: bytes) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.sendall(garbage)
    theirs.close()
    stream = ForkedStream(ForkedVoice("english", "hibari", 24_000, "reinstall it"), ours)
    with pytest.raises(EngineError, match="reinstall it"):
        samples_of(stream)


def test_frames_may_come_in_any_pieces() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    stream, received = ForkedStream(ForkedVoice("english", "hibari", 24_000, "reinstall it"), ours), b""
    for byte in FRAME.pack(SAMPLES, 4) + b"abcd" + FRAME.pack(END, 0):
        theirs.sendall(bytes([byte]))
        received += stream.read()
    assert (received, stream.ended) == (b"abcd", True)
    stream.close()
    theirs.close()


def test_a_voice_may_not_use_the_network() -> None:
    program = (
        "from worker.engine.preview.natural.program import _forbid_networking\n_forbid_networking()\nimport socket\n"
        "try:\n    socket.create_connection(('127.0.0.1', 9))\nexcept PermissionError:\n    print('refused')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, cwd=REPOSITORY)
    assert done.stdout == b"refused\n"


def test_no_process_is_left(natural: SharedNatural) -> None:
    others = set(processes_of())
    samples_of(natural.begin(ENGLISH))
    assert until(lambda: set(processes_of()) <= others)


@needs_japanese
def test_japanese_reads_kanji_and_numbers(natural: SharedNatural) -> None:
    kanji, kana = (
        samples_of(natural.begin(segment(text, "Japanese"))) for text in ("東京に行きます。", "トーキョーにいきます。")
    )
    assert 0.8 < len(kanji) / len(kana) < 1.2


def test_after_waiting_a_process_is_there_that_can_begin_at_once() -> None:
    voices = Natural()
    try:
        voices.wait_until_ready()  # nothing was started: nothing to wait for
        for _ in range(2):
            samples_of(voices.begin(ENGLISH))
            voices.wait_until_ready()
            assert voices._hibari._n_ready == voices._hibari._n_texts + 1
        assert voices._hibari._process is not None
        voices._hibari._process.kill()
        voices.wait_until_ready()  # ends with the process; the next text starts another
        assert samples_of(voices.begin(ENGLISH))
    finally:
        voices.close()
