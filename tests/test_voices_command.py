"""`voices list` and `voices check`: which voices can be spoken, and what would make them better."""

from __future__ import annotations

import json
from pathlib import Path

from tests.recordings import make_voice, replace_recording
from tests.shell import Run


def test_voices_list_tells_which_are_complete(run: Run) -> None:
    done = run("voices", "list", "--json")
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert (rows["makima"]["status"], rows["placeholder"]["status"]) == ("incomplete", "ready")
    assert rows["makima"]["is_default"] is True
    assert b"makima (default)" in run("voices", "list").stdout


def test_voices_check_fails_while_a_recording_is_missing(run: Run) -> None:
    done = run("voices", "check", "--no-judge")
    assert done.returncode == 1
    assert b"makima: incomplete: reference.wav is missing" in done.stdout
    assert b"placeholder: ready" in done.stdout


def test_voices_of_another_folder_each_with_its_problem(run: Run, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / "mine" / name).mkdir(parents=True)
        (tmp_path / "mine" / name / "voice.toml").write_text("name = 1", "utf-8")
    done = run("voices", "check", "--no-judge", "--voices-dir", "mine")
    assert done.returncode == 1
    lines = done.stderr.decode().splitlines()
    assert all(line.startswith("makima-tts: ") for line in lines)
    for name in ("one", "two"):
        assert any(name in line for line in lines)


def test_a_recording_that_is_usable_but_could_be_better_fails_no_check_and_says_why(run: Run, tmp_path: Path) -> None:
    make_voice(tmp_path / "mine", "fine")
    hasty = make_voice(tmp_path / "mine", "hasty", seconds=3.5)
    done = run("voices", "check", "--no-judge", "--voices-dir", "mine")
    assert (done.returncode, done.stderr) == (0, b"")
    fine, ready, *warnings = done.stdout.decode().splitlines()
    assert (fine, ready) == ("fine: ready", "hasty: ready")
    assert warnings == ["hasty: warning: the recording lasts 3.5 s; 5 to 15 s give the best likeness"]
    (hasty / "voice.toml").write_text((hasty / "voice.toml").read_text("utf-8").replace("transcript", "#"), "utf-8")
    broken = run("voices", "check", "--no-judge", "--voices-dir", "mine")
    assert broken.returncode == 1
    assert b"needs `transcript`" in broken.stdout


def test_voices_list_shows_what_is_wrong_with_a_recording_and_what_could_be_better(run: Run, tmp_path: Path) -> None:
    stereo = make_voice(tmp_path / "mine", "stereo")
    noise = [[0.3 * (-1) ** n, 0.2] for n in range(44_100 * 4)]
    replace_recording(stereo, noise, 44_100)  # type: ignore[arg-type]
    (make_voice(tmp_path / "mine", "lost") / "reference.wav").unlink()
    rows = {row["name"]: row for row in json.loads(run("voices", "list", "--voices-dir", "mine", "--json").stdout)}
    assert "2 channels" in " ".join(rows["stereo"]["warnings"])
    assert rows["stereo"]["problem"] is None
    assert "is missing" in rows["lost"]["problem"]
    assert rows["lost"]["warnings"] == []
    table = run("voices", "list", "--voices-dir", "mine").stdout.decode()
    assert "the recording has 2 channels, which will be mixed" in table
    assert "the recording lasts 4.0 s" in table
    assert "reference.wav is missing" in table
