"""`demo --engine qwen` as a user runs it: its WAV file comes through Redis like any other job."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile

from tests.conftest import REPOSITORY
from tests.shell import Run, audible_s, here


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `makima-tts demo` in an empty folder, in this process: loading torch takes longer than all else."""
    call = here(tmp_path, monkeypatch, capsys)
    always = ("--engine", "qwen", "--device", "cpu", "--cache-dir", "cache", "--voices-dir", str(REPOSITORY / "voices"))
    return lambda *words: call("demo", *always, *words)


def test_demo_writes_what_the_model_says_into_a_wav_file(run: Run, tiny: Path, tmp_path: Path) -> None:
    done = run("--model", str(tiny), "--voice", "placeholder", "Hello there.", "--out", "x.wav")
    assert done.returncode == 0, done.stderr
    wav = soundfile.info(tmp_path / "x.wav")
    assert (wav.samplerate, wav.channels, wav.subtype) == (24_000, 1, "PCM_16")
    assert wav.duration == pytest.approx(6.0, abs=0.5)
    assert audible_s(tmp_path / "x.wav") > 3
    told = done.stdout.decode()
    assert "model tiny" in told
    assert "finish length: " in told
    assert "PREVIEW" not in told
    assert b"prompt of placeholder built" in done.stderr


def test_demo_keeps_the_voices_prompt_and_tells_the_end_of_what_ends(
    run: Run, tiny_ending: Path, tmp_path: Path
) -> None:
    words = ("--model", str(tiny_ending), "--voice", "placeholder", "Hello there.", "--json")
    for kept in (False, True):
        done = run(*words)
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert told["complete"]["model"] == "ending"
        assert told["complete"]["finish"] in ("stop", "length")
        assert told["audio_s"] == pytest.approx(soundfile.info(tmp_path / "demo.wav").duration)
        assert (b"prompt of placeholder read from the cache" in done.stderr) is kept


def test_demo_says_what_a_voice_without_a_recording_needs(run: Run, tiny: Path, tmp_path: Path) -> None:
    done = run("--model", str(tiny), "--voice", "makima", "Hello there.")
    assert done.returncode == 1
    last = done.stderr.decode().splitlines()[-1]
    assert last.startswith("makima-tts: voice_unavailable: makima: reference.wav is missing; put 5 to 15 s")
    assert not (tmp_path / "demo.wav").exists()
