"""The espeak-ng process: the same samples always, nothing left behind, and every way it can die."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import espeakng_loader
import pytest

from tests.processes import children_of, is_running, n_descriptors, resident_kb, until
from worker.engine.base import EngineClosed, EngineError, VoiceUnavailable
from worker.engine.preview import espeak as module
from worker.engine.preview.espeak import Espeak, EspeakSpeech, Library, Request, wait_for_samples
from worker.engine.preview.espeak_host import END, FAILED, HEADER, PCM, READY

READY_MESSAGE = HEADER.pack(READY, 18) + b'{"rate_hz": 22050}'
REPOSITORY = Path(__file__).parent.parent
LONG = "The quick brown fox jumps over the lazy dog, and nobody is surprised. " * 60
TEXTS = {
    "en": "Hello there, 12 apples cost $3.50!",
    "en-us+f3": "A breathy variant draws noise.",
    "ja": "こんにちは、マキマです。",
    "cmn": "你好,我是玛奇玛。",
    "ko": "안녕하세요.",
    "ru": "Привет, меня зовут Макима.",
    "de": "Grüß Gott, schöne Straße.",
    "fr": "Bonjour, ça va ?",
    "es": "¿Qué tal, señor?",
    "it": "Ciao, come stai?",
    "pt": "Olá, tudo bem?",
}


@pytest.fixture
def espeak() -> Iterator[Espeak]:
    engine = Espeak()
    yield engine
    engine.close()


def samples_of(*speeches: EspeakSpeech) -> list[bytes]:
    """Read these to their end, all at once, and close them."""
    spoken = [bytearray() for _ in speeches]
    try:
        while not all(speech.ended for speech in speeches):
            wait_for_samples([speech for speech in speeches if not speech.ended], 1.0)
            for i, speech in enumerate(speeches):
                spoken[i] += speech.read()
    finally:
        for speech in speeches:
            speech.close()
    return [bytes(samples) for samples in spoken]


def say(espeak: Espeak, text: str, voice: str = "en") -> bytes:
    return samples_of(espeak.speak(Request(text, voice)))[0]


def host_of(espeak: Espeak) -> int:
    assert espeak.pid is not None
    return espeak.pid


def substitute(monkeypatch: pytest.MonkeyPatch, folder: Path, message: bytes) -> Espeak:
    """An Espeak whose host sends this message and ends."""
    program = folder / "host.py"
    program.write_text(f"import os, sys\nos.write(int(sys.argv[1]), {message!r})")
    monkeypatch.setattr(module, "_HOST_PROGRAM", program)
    return Espeak()


def test_every_language_sounds_the_same_in_any_order_at_once_and_in_another_process() -> None:
    first, second = Espeak(), Espeak()
    try:
        one_by_one = {voice: say(first, text, voice) for voice, text in TEXTS.items()}
        backwards = {voice: say(first, TEXTS[voice], voice) for voice in reversed(TEXTS)}
        speeches = [second.speak(Request(text, voice)) for voice, text in TEXTS.items()]
        at_once = dict(zip(TEXTS, samples_of(*speeches), strict=True))
    finally:
        first.close()
        second.close()
    assert all(len(samples) > 2000 and any(samples) for samples in one_by_one.values())
    assert one_by_one == backwards == at_once


def test_a_text_sounds_the_same_in_another_interpreter(espeak: Espeak) -> None:
    program = (
        "import hashlib\nfrom tests.test_espeak import *\n"
        "e = Espeak()\nsay(e, 'Something else first.')\n"
        "print(hashlib.sha256(say(e, TEXTS['ja'], 'ja')).hexdigest())\ne.close()"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )
    assert printed.stdout.strip() == hashlib.sha256(say(espeak, TEXTS["ja"], "ja")).hexdigest()


def test_samples_stream_before_the_text_is_spoken_to_its_end(espeak: Espeak) -> None:
    speech = espeak.speak(Request(LONG, "en"))
    wait_for_samples([speech], 5.0)
    assert speech.read()
    assert not speech.ended
    speech.close()


def test_rate_and_pitch_are_heard(espeak: Espeak) -> None:
    text = "One two three four five six."
    usual, fast, high = samples_of(
        espeak.speak(Request(text, "en")),
        espeak.speak(Request(text, "en", rate_wpm=350)),
        espeak.speak(Request(text, "en", pitch=90)),
    )
    assert len(fast) < 0.7 * len(usual)
    assert high != usual


def test_a_nul_does_not_cut_the_text(espeak: Espeak) -> None:
    assert say(espeak, "Hello\0there") == say(espeak, "Hello there")


def test_control_characters_are_not_obeyed_as_commands(espeak: Espeak) -> None:
    assert say(espeak, "\x0199P Hello") == say(espeak, " 99P Hello")


def test_markup_is_spoken_and_not_obeyed(espeak: Espeak) -> None:
    slowed = say(espeak, '<prosody rate="x-slow">Hello</prosody>')
    silenced = say(espeak, "<!-- Hello there -->")
    assert len(slowed) > len(say(espeak, "prosody rate x slow hello"))
    assert len(silenced) > 0.8 * len(say(espeak, "Hello there"))


def test_a_half_surrogate_does_no_harm(espeak: Espeak) -> None:
    assert any(say(espeak, "Hello \ud800 there"))


@pytest.mark.parametrize("voice", ["xx", "tlh-none", "en+zzz", "en+", "en+../../lang/gmw/en"])
def test_a_voice_that_is_not_installed_is_refused_by_name(espeak: Espeak, voice: str) -> None:
    with pytest.raises(VoiceUnavailable, match=r"has no voice '") as refused:
        espeak.speak(Request("Hello", voice))
    assert repr(voice) in str(refused.value)
    assert any(say(espeak, "Hello"))


def test_a_reader_who_leaves_ends_the_child(espeak: Espeak) -> None:
    speeches = [espeak.speak(Request(LONG, "en")) for _ in range(4)]
    wait_for_samples(speeches, 5.0)
    assert until(lambda: len(children_of(host_of(espeak))) == 4)
    for speech in speeches:
        speech.close()
        speech.close()
    assert until(lambda: not children_of(host_of(espeak)))


def test_a_slow_reader_holds_its_writer_back_and_misses_nothing(espeak: Espeak) -> None:
    slow = espeak.speak(Request(LONG, "en"))
    assert until(lambda: len(children_of(host_of(espeak))) == 1)
    assert any(say(espeak, "Somebody else is not held up."))
    whole = say(espeak, LONG)
    assert until(lambda: len(children_of(host_of(espeak))) == 1)
    assert samples_of(slow) == [whole]


def test_a_killed_host_leaves_its_speeches_whole_and_the_next_text_starts_another(espeak: Espeak) -> None:
    whole = say(espeak, LONG)
    speech, killed = espeak.speak(Request(LONG, "en")), host_of(espeak)
    wait_for_samples([speech], 5.0)
    os.kill(killed, signal.SIGKILL)
    os.waitid(os.P_PID, killed, os.WEXITED | os.WNOWAIT)
    assert say(espeak, LONG) == whole
    assert host_of(espeak) != killed
    assert samples_of(speech) == [whole]


def test_a_killed_child_is_an_error_of_its_speech_alone(espeak: Espeak) -> None:
    say(espeak, "Hello")
    assert until(lambda: not children_of(host_of(espeak)))
    speech = espeak.speak(Request(LONG, "en"))
    assert until(lambda: len(children_of(host_of(espeak))) == 1)
    os.kill(children_of(host_of(espeak))[0], signal.SIGKILL)
    with pytest.raises(EngineError, match="in the middle of a text"):
        samples_of(speech)
    assert any(say(espeak, "Hello"))


def test_a_frozen_host_is_given_up_and_replaced(espeak: Espeak, monkeypatch: pytest.MonkeyPatch) -> None:
    say(espeak, "Hello")
    frozen = host_of(espeak)
    monkeypatch.setattr(module, "_ANSWER_S", 0.2)
    os.kill(frozen, signal.SIGSTOP)
    with pytest.raises(EngineError, match="no samples"):
        espeak.check("de")
    assert any(say(espeak, "Guten Tag", "de"))
    assert host_of(espeak) != frozen
    assert not is_running(frozen)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_meant_for_the_worker_do_not_end_the_host(espeak: Espeak, number: int) -> None:
    say(espeak, "Hello")
    host = host_of(espeak)
    os.kill(host, number)
    assert os.getpgid(host) != os.getpgid(0)
    assert any(say(espeak, "Hello again"))
    assert host_of(espeak) == host


def test_the_host_and_its_children_die_with_a_worker_killed_by_force() -> None:
    program = (
        "import time\nfrom tests.test_espeak import *\n"
        "e = Espeak()\ns = e.speak(Request(LONG, 'en'))\nwait_for_samples([s], 5)\n"
        "print(e.pid, flush=True)\ntime.sleep(60)"
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )
    with worker:
        assert worker.stdout is not None
        host = int(worker.stdout.readline())
        family = [host, *children_of(host)]
        assert len(family) >= 2
        worker.kill()
    assert until(lambda: not any(is_running(pid) for pid in family))


def test_closing_ends_the_host_and_later_texts_are_refused() -> None:
    espeak = Espeak()
    say(espeak, "Hello")
    host = host_of(espeak)
    espeak.close()
    espeak.close()
    assert espeak.pid is None
    assert not is_running(host)
    with pytest.raises(EngineClosed):
        espeak.speak(Request("Hello", "en"))


def test_a_missing_loader_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(EngineError, match=r"makima-tts\[preview\]"):
        Library.find()


def test_a_missing_library_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(espeakng_loader, "get_library_path", lambda: str(tmp_path / "gone.so"))
    with pytest.raises(EngineError, match="reinstall"):
        Library.find()


def test_a_library_that_cannot_be_loaded_is_a_clear_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "libespeak-ng.so"
    broken.write_bytes(b"no library")
    monkeypatch.setattr(espeakng_loader, "get_library_path", lambda: str(broken))
    espeak = Espeak()
    with pytest.raises(EngineError, match="cannot be used"):
        espeak.check("en")
    assert espeak.pid is None


def test_an_interpreter_that_cannot_be_started_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with pytest.raises(EngineError, match="cannot be started"):
        Espeak().check("en")


def test_a_host_that_ends_at_once_is_a_clear_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    espeak = substitute(monkeypatch, tmp_path, b"")
    with pytest.raises(EngineError, match="did not start"):
        espeak.check("en")


@pytest.mark.slow
def test_hundreds_of_texts_leave_no_memory_descriptor_or_process_behind(espeak: Espeak) -> None:
    def speak_many(n: int) -> None:
        for i in range(n):
            voices = list(TEXTS)[i % 3 : i % 3 + 4]
            speeches = [espeak.speak(Request(TEXTS[voice], voice)) for voice in voices]
            speeches.pop().close()
            samples_of(*speeches)

    speak_many(20)
    host, descriptors = host_of(espeak), n_descriptors()
    before_kb = resident_kb(host), resident_kb(os.getpid())
    speak_many(100)
    after_kb = resident_kb(host), resident_kb(os.getpid())
    assert host_of(espeak) == host
    assert n_descriptors() == descriptors
    assert until(lambda: not children_of(host))
    assert after_kb[0] - before_kb[0] < 500
    assert after_kb[1] - before_kb[1] < 4000


def test_a_system_that_cannot_fork_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "fork")
    with pytest.raises(EngineError, match="POSIX"):
        Library.find()


def test_a_host_that_takes_no_texts_is_tried_twice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    espeak, hosts = substitute(monkeypatch, tmp_path, READY_MESSAGE), []
    started = module._Host

    def start() -> module._Host:
        hosts.append(started())
        hosts[-1].process.wait()
        return hosts[-1]

    monkeypatch.setattr(module, "_Host", start)
    with pytest.raises(EngineError, match="does not take a text"):
        espeak.speak(Request("Hello", "en"))
    assert len(hosts) == 2
    assert espeak.pid is None


def test_an_unexpected_sample_rate_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    espeak = substitute(monkeypatch, tmp_path, READY_MESSAGE.replace(b"22050", b"16000"))
    with pytest.raises(EngineError, match="16000 Hz instead of 22050"):
        espeak.check("en")


def test_a_failure_that_the_host_reports_is_passed_on() -> None:
    near_end, far_end = socket.socketpair()
    with far_end:
        far_end.sendall(HEADER.pack(PCM, 2) + b"ab" + HEADER.pack(FAILED, 4) + b"oops")
    speech = EspeakSpeech(near_end)
    with pytest.raises(EngineError, match="oops"):
        speech.read()
    speech.close()


def test_a_message_cut_anywhere_is_put_together() -> None:
    near_end, far_end = socket.socketpair()
    speech, samples = EspeakSpeech(near_end), b""
    with far_end:
        for byte in HEADER.pack(PCM, 4) + b"abcd" + HEADER.pack(END, 0):
            assert not speech.ended
            far_end.sendall(bytes([byte]))
            samples += speech.read()
    assert (samples, speech.ended, speech.read()) == (b"abcd", True, b"")
    speech.close()


def test_a_speech_that_breaks_off_is_an_error() -> None:
    near_end, far_end = socket.socketpair()
    near_end.sendall(b"never read")
    far_end.close()  # with bytes unread: the near end sees a reset
    speech = EspeakSpeech(near_end)
    with pytest.raises(EngineError, match="broke off"):
        speech.read()
    speech.close()
