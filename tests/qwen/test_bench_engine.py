"""`bench engine` measures our engine beside upstream and reports it; speed is not tested."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch

from benchmarks import soak
from worker import cli
from worker.bench import engine_codec
from worker.bench.engine_rates import _Listener
from worker.bench.engine_settings import Bench
from worker.engine.checkpoint import packages
from worker.engine.qwen import QwenEngine

FRAME_S = 0.08
N_FRAMES, N_REPEATS = 5, 3


def bench(*words: str) -> int:
    """The status that `makima-tts bench engine` ends with."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["makima-tts", "bench", "engine", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.fixture(scope="module")
def said(tiny: Path) -> str:
    """What a whole run prints; of the codec fewer frames are decoded, and fewer again."""
    words = ["--model", str(tiny), "--device", "cpu", "--seconds", str(N_FRAMES * FRAME_S), "--threads", "1"]
    words += ["--dtype", "float32", "--beside", "bfloat16"]
    words += ["--streams", "1,2", "--slots", "3", "--repeats", str(N_REPEATS), "--rates", "20", "--requests", "4"]
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out):
        patch.setattr(engine_codec, "N_FRAMES", 12)
        patch.setattr(engine_codec, "N_CONTEXT", 4)
        assert bench(*words, "--upstream", "--json", "-") == 0
    return out.getvalue()


@pytest.fixture(scope="module")
def report(said: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(said)
    return loaded


def test_the_report_tells_the_machine_and_what_was_asked_but_no_path(
    report: dict[str, Any], said: str, tiny: Path
) -> None:
    machine, settings = report["machine"], report["settings"]
    assert machine["threads"] == 1
    assert machine["cpu"]
    assert machine["packages"]["torch"] == packages.installed("torch")
    assert machine["cpu_s_per_s"] > 0
    assert report["model"]["name"] == tiny.name
    assert str(tiny.parent) not in said
    assert (settings["dtype"], settings["frames"], settings["slots"]) == ("float32", N_FRAMES, 3)
    assert 0 < report["memory_bytes"]["loaded"] <= report["memory_bytes"]["spoken"]


def test_a_second_number_format_is_timed_beside_the_first(report: dict[str, Any]) -> None:
    assert report["beside"]["dtype"] == "bfloat16"
    for n in (1, 2):
        assert report["beside"]["frame_without_codec_ms"][str(n)] > 0
        assert report["ratios"][f"frame_{n}_bfloat16_vs_float32"] > 0


@pytest.mark.parametrize("n", [1, 2])
def test_every_number_of_streams_has_its_figures(report: dict[str, Any], n: int) -> None:
    figures = report["streams"][str(n)]
    rounds_s = figures["rounds_s"]
    assert (figures["frames"], len(rounds_s)) == (N_FRAMES, N_REPEATS)
    assert 0 < figures["first_audio_ms"]["p50"] <= figures["first_audio_ms"]["p95"]
    assert figures["first_audio_ms"]["samples"] >= n * N_REPEATS
    assert figures["frame_ms"] == pytest.approx(median(rounds_s) / N_FRAMES * 1000, rel=0.01)
    assert figures["real_time_factor"] == pytest.approx(figures["frame_ms"] / 80, rel=0.01)
    assert figures["audio_s_per_s"] == pytest.approx(n * N_FRAMES * FRAME_S / median(rounds_s), rel=0.01)
    assert figures["frame_without_codec_ms"] > 0


def test_our_codes_are_upstreams_and_its_figures_stand_beside_ours(report: dict[str, Any]) -> None:
    upstream = report["upstream"]
    assert report["codes_equal"] is True
    assert [figures["codes_equal"] for figures in report["streams"].values()] == [True, True]
    assert upstream["frames"] == N_FRAMES
    assert upstream["whole_ms"] == pytest.approx(median(upstream["rounds_s"]) * 1000, rel=0.01)
    assert upstream["frame_ms"] * N_FRAMES == pytest.approx(upstream["whole_ms"], rel=0.01)


def test_ratios_are_the_medians_of_the_rounds_ratios(report: dict[str, Any]) -> None:
    theirs = report["upstream"]["rounds_s"]
    alone, two = (report["streams"][n]["rounds_s"] for n in ("1", "2"))
    ratios = report["ratios"]
    of_frames = [a / b for a, b in zip(alone, theirs, strict=True)]
    of_rates = [2 * b / a for a, b in zip(two, theirs, strict=True)]
    assert ratios["frame_vs_upstream"] == pytest.approx(median(of_frames), rel=0.01)
    assert ratios["audio_rate_2_vs_upstream_1"] == pytest.approx(median(of_rates), rel=0.01)
    assert ratios["first_audio_vs_upstream_whole"] > 0
    assert ratios["cached_state_vs_reference"] > 0


def test_the_codec_is_measured_in_three_ways_that_decode_the_same(report: dict[str, Any]) -> None:
    codec = report["codec"]
    assert (codec["threads"], codec["rounds"]) == (1, N_REPEATS)
    assert len(codec["row_ms"]) == 5
    assert all(row_ms > 0 for row_ms in codec["row_ms"].values())
    assert codec["stateful_off_by_lsb"] <= 1
    assert 0 < codec["windowed_off_by_lsb"] < 3000  # the same sound, but a window is not the whole past
    ways = ("stateful", "stateful_8", "windowed", "windowed_8")
    assert {f"codec_{way}_vs_whole" for way in ways} <= report["ratios"].keys()


def test_the_open_loop_answers_every_request(report: dict[str, Any]) -> None:
    (figures,) = report["rates"]
    assert (figures["requests_per_s"], figures["requests"], figures["first_audio_ms"]["samples"]) == (20, 4, 4)
    assert 0 < figures["first_audio_ms"]["p50"] <= figures["first_audio_ms"]["p95"]
    assert 0 <= figures["with_gaps"] <= 4
    assert figures["audio_s_per_s"] > 0


def test_a_listener_hears_a_gap_when_audio_comes_after_the_last_was_played() -> None:
    listener = _Listener(asked_s=1.0)
    listener.receive(2, now=1.5)
    listener.receive(2, now=1.66)
    assert not listener.has_gap
    listener.receive(2, now=1.83)
    assert listener.has_gap
    assert (listener.first_s, round(listener.heard_s, 2)) == (1.5, 0.48)


@pytest.fixture
def two_threads() -> Iterator[None]:
    usual = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(usual)


@pytest.mark.usefixtures("two_threads")
def test_without_upstream_our_figures_go_to_a_file_and_torch_keeps_its_threads(tiny: Path, tmp_path: Path) -> None:
    file = tmp_path / "engine.json"
    words = ["--model", str(tiny), "--device", "cpu", "--streams", "2", "--seconds", "0.24", "--repeats", "1"]
    assert bench(*words, "--threads", "1", "--json", str(file)) == 0
    report = json.loads(file.read_text("utf-8"))
    assert torch.get_num_threads() == 2
    assert report["machine"]["threads"] == 1
    assert report["streams"].keys() == {"2"}
    assert report["ratios"].keys() == {"cached_state_vs_reference"}
    assert not report.keys() & {"upstream", "codec", "codes_equal", "rates", "beside"}


@pytest.mark.parametrize(
    ("words", "status", "complaint"),
    [
        (["--model", "absent"], 1, "neither a directory"),
        (["--model", "x", "--streams", "one"], 2, "one"),
        (["--model", "x", "--streams", "0,1"], 2, "at least 1"),
        (["--model", "x", "--streams", "8", "--slots", "4"], 2, "as many --slots"),
        (["--model", "x", "--rates", "0"], 2, "above 0"),
        (["--model", "x", "--seconds", "0.1"], 2, "at least 0.24"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_foreseen_error_is_one_line(
    words: list[str], status: int, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench(*words) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("makima-tts: ")
    assert complaint in err
    assert err.count("\n") == 1


def test_missing_packages_are_named_before_torch_is_needed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(packages, "installed", lambda _: None)
    assert bench("--model", "x") == 1
    assert "not installed: torch" in capsys.readouterr().err


def test_there_are_as_many_slots_as_the_most_streams() -> None:
    assert Bench("x", streams=(1, 12, 3)).slots == 12
    assert Bench("x", seconds=4).n_frames == 50


def test_the_soak_reads_memory_as_it_goes_and_at_the_end(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "EVERY", 4)
    resident = soak.soak(QwenEngine.load(str(tiny), device="cpu", slots=3), 10)
    assert len(resident) == 3
    assert min(resident) > 2**20
