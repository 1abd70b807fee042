"""`demo` with the preview engine: a WAV file by way of Redis, and what was measured on the way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile

from tests.shell import Run, audible_s


def test_demo_as_json_tells_what_was_measured(shell: Run, tmp_path: Path) -> None:
    done = shell("demo", "Hello there, this is a demo.", "--out", "d.wav", "--json", "--preview-voices", "natural")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["complete"]["model"] == "preview-hibari"
    assert told["complete"]["finish"] == "stop"
    assert 0 < told["first_audible_s"] <= told["wall_s"]
    assert told["audio_s"] == pytest.approx(soundfile.info(tmp_path / "d.wav").duration)


def test_demo_speaks_another_language_and_refuses_one_that_is_none(shell: Run, tmp_path: Path) -> None:
    done = shell("demo", "こんにちは、世界。", "--language", "japanese", "--out", "ja.wav")
    assert done.returncode == 0, done.stderr
    assert b"finish stop\n" in done.stdout
    assert audible_s(tmp_path / "ja.wav") > 0.5
    assert shell("demo", "Hi.", "--language", "Klingon", "--out", "no.wav").returncode == 1
    assert not (tmp_path / "no.wav").exists()
