"""`bench quality`: two engines' sentences judged side by side, in a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY
from tests.quality.fakes import fake_judges
from tests.shell import Run
from worker.bench import quality
from worker.bench.quality_settings import QualityBench
from worker.quality import installed
from worker.quality.judges import Judges
from worker.quality.sentences import sentences
from worker.settings import Settings

N = 2


def settings(**options: Any) -> Settings:
    given: dict[str, Any] = {
        "engine": "preview",
        "default_voice": "placeholder",
        "voices_dir": REPOSITORY / "voices",
        "preview_voices": "espeak-ng",  # they start sooner than the natural ones
    } | options
    return Settings(_env_file=None, **given)


@pytest.fixture
def judged_as(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int], str]], None]:
    """Replaces the models by judges that recognise what a function of the sentence's number gives."""

    def replace(words: Callable[[int], str]) -> None:
        monkeypatch.setattr(Judges, "load", lambda: fake_judges(words))
        monkeypatch.setattr(quality, "missing_judges", lambda: None)

    return replace


def measured(tmp_path: Path, **options: Any) -> dict[str, Any]:
    out = tmp_path / "quality.json"
    given: dict[str, Any] = {"languages": ["English"], "n_sentences": N, "against": None} | options
    assert quality.run(settings(), out=str(out), **given) == 0
    report: dict[str, Any] = json.loads(out.read_text("utf-8"))
    return report


def test_words_are_counted_and_the_wrong_ones_listed(
    judged_as: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = sentences("English", N)
    judged_as(lambda n: texts[n].upper().replace("KETTLE", "PETAL"))
    (engine,) = measured(tmp_path)["engines"]
    figures = engine["languages"]["English"]
    n_words = sum(len(text.split()) for text in texts)
    assert figures["words"]["judged"]
    assert figures["words"]["error_rate"] == pytest.approx(1 / n_words, abs=1e-4)
    assert figures["words"]["wrong"] == [{"expected": "kettle", "recognised": "petal", "times": 1}]
    assert [one["text"] for one in figures["each"]] == texts
    assert [one["error_rate"] > 0 for one in figures["each"]] == [False, True]
    shown = capsys.readouterr().out
    assert "kettle → petal" in shown
    assert engine["engine"] in shown


def test_speech_without_words_is_not_given_a_rate(
    judged_as: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judged_as(lambda n: "" if n else "something else altogether")
    figures = measured(tmp_path)["engines"][0]["languages"]["English"]
    assert figures["words"]["judged"] is False
    assert figures["words"]["error_rate"] is None
    assert figures["mos"]["mean"] == 4.0
    assert "cannot be judged" in capsys.readouterr().out


def test_peers_stand_side_by_side_with_samples_and_judges_versions(
    judged_as: Callable[..., None], tmp_path: Path
) -> None:
    texts = sentences("English", N)
    judged_as(lambda n: texts[n % N])
    report = measured(tmp_path, against="espeak-ng")
    ours, theirs = report["engines"]
    assert theirs["engine"] == "preview-espeak-ng"
    assert set(report["judges"]) >= set(installed.JUDGES)
    assert report["settings"]["against"] == "espeak-ng"
    for engine in (ours, theirs):
        figures = engine["languages"]["English"]
        assert (figures["spoken"], figures["sentences"], figures["unspoken"]) == (N, N, [])
        assert (figures["clicks"], figures["holes"]) == (0, 0)
        assert figures["units_per_s"] > 1
        assert figures["similarity"]["to_reference"]["mean"] == pytest.approx(1, abs=0.05)
        assert 0 <= figures["silence_ms"]["leading"]["median"] <= figures["silence_ms"]["leading"]["max"]
        assert figures["take_over"]["equal"] is True
        assert figures["take_over"]["segments"] > 1
        assert figures["take_over"]["resumed_after_chunks"]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"languages": ("Klingon",)}, "Klingon"),
        ({"languages": ("Auto",)}, "Auto"),
        ({"languages": ("English", "English")}, "twice"),
        ({"n_sentences": 21}, "20"),
        ({"n_sentences": 0}, "20"),
        ({"against": "someone"}, "upstream"),
        ({"against": "upstream"}, "--model"),
        ({"against": "espeak-ng", "settings": settings(engine="auto")}, "--engine preview"),
    ],
)
def test_options_that_cannot_be_are_refused_with_what_can(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        QualityBench(**({"settings": settings()} | options))


def test_missing_judges_are_an_error_with_the_command_that_installs_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(installed, "package_version", lambda name: None)
    assert quality.run(settings(), ["English"], 1, None, None) == 1
    shown = capsys.readouterr().err
    assert "faster-whisper" in shown
    assert "makima-tts[quality]" in shown


@pytest.mark.parametrize(
    ("words", "status"), [(["--language", "Klingon"], 2), (["--engine", "qwen", "--model", "/nowhere"], 1)]
)
def test_the_command_ends_with_one_line_and_a_status(run: Run, words: list[str], status: int) -> None:
    done = run("bench", "quality", "--voice", "placeholder", *words)
    assert done.returncode == status
    assert done.stderr.decode().splitlines()[-1].startswith("makima-tts: ")
    assert b"Traceback" not in done.stderr


def test_an_engine_that_speaks_no_sentence_is_an_error(
    judged_as: Callable[..., None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    judged_as(lambda n: "")
    assert quality.run(settings(default_voice="nobody"), ["English"], 1, None, None) == 1
    assert "nobody" in capsys.readouterr().err
