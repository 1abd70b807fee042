"""doctor: voices, the engine that would speak, and how fast it is."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import make_settings
from tests.findings import NOBODY_THERE, by_name
from worker.commands.doctor import speech as doctor_speech
from worker.commands.doctor.findings import State
from worker.commands.doctor.speech import check_engine, check_speed, check_voices
from worker.engine.base import EngineError


@pytest.fixture(autouse=True)
def _no_settings_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_folder_without_voices_fails(tmp_path: Path) -> None:
    (finding,) = check_voices(make_settings(NOBODY_THERE, voices_dir=tmp_path / "absent"))
    assert finding.state is State.FAIL
    assert "MAKIMA_TTS_VOICES_DIR" in finding.detail


@pytest.mark.parametrize(("voice", "state"), [("placeholder", "ok"), ("makima", "warn"), ("nobody", "fail")])
def test_the_default_voice_is_there_incomplete_or_unknown(voice: str, state: str) -> None:
    found = by_name(check_voices(make_settings(NOBODY_THERE, default_voice=voice)))
    assert found["voices"].state is State.OK
    assert found["default voice"].state == state


@pytest.mark.parametrize(("engine", "state"), [("preview", "ok"), ("auto", "warn"), ("qwen", "fail")])
def test_the_engine_that_would_speak_is_named(engine: str, state: str) -> None:
    (finding,) = check_engine(make_settings(NOBODY_THERE, engine=engine))
    assert finding.state == state


def test_no_engine_at_all_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_speech, "installed", lambda name: None)
    settings = make_settings(NOBODY_THERE, engine="auto")
    (finding,) = check_engine(settings)
    assert finding.state is State.FAIL
    assert "[preview]" in finding.remedy
    assert list(check_speed(settings)) == []


def test_qwen_is_named_where_nothing_is_in_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_speech, "qwen_problem", lambda settings: None)
    (finding,) = check_engine(make_settings(NOBODY_THERE, engine="auto"))
    assert (finding.state, finding.detail) == (State.OK, "qwen")


def test_the_preview_engine_is_heard_and_its_speed_measured() -> None:
    found = by_name(check_speed(make_settings(NOBODY_THERE)))
    assert found["preview engine"].state in ("ok", "warn")
    assert "real-time factor 0." in found["speed"].detail


@pytest.mark.parametrize(("engine", "state"), [("preview", "fail"), ("auto", "warn")])
def test_a_preview_engine_that_cannot_speak_is_told(engine: str, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> object:
        raise EngineError("espeak-ng has lost its tongue")

    monkeypatch.setattr(doctor_speech, "preview_engine", broken)
    (finding,) = check_speed(make_settings(NOBODY_THERE, engine=engine))
    assert finding.state == state
    assert "lost its tongue" in finding.detail


class _Mute:
    """An engine whose segments fail, are empty, or never end."""

    def __init__(self, *steps: Any) -> None:
        self.steps = list(steps)

    def warm_up(self, voices: object) -> None: ...

    def model(self, segment: object) -> str:
        return "mute"

    def open(self, segment: object) -> int:
        return 0

    def step(self) -> list[Any]:
        return [self.steps.pop(0)] if self.steps else []

    def close(self) -> None: ...


@pytest.mark.parametrize(
    "engine",
    [
        _Mute(SimpleNamespace(error=EngineError("hoarse"), ended=True, pcm=[])),
        _Mute(SimpleNamespace(error=None, ended=True, pcm=[])),
        _Mute(),
    ],
    ids=["fails", "empty", "never-ends"],
)
def test_a_preview_engine_without_samples_fails_in_time(engine: _Mute, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_speech, "SPEECH_TIMEOUT_S", 0.1)
    monkeypatch.setattr(doctor_speech, "preview_engine", lambda *_: engine)
    (finding,) = check_speed(make_settings(NOBODY_THERE))
    assert finding.state is State.FAIL
