"""`model fetch` and `model check`: a hub on this machine, plain directories, and one line for what stops them."""

from __future__ import annotations

import errno
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants

from tests.qwen.damage import copy_of
from tests.qwen.hub import COMMIT, REPOSITORY_NAME, hub_of
from tests.shell import Run, complaint, here, runner
from worker.engine.checkpoint.files import read


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `makima-tts` in an empty folder, with an empty hub cache and a hub that is not there."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    return here(tmp_path, monkeypatch, capsys)


def around(address: str, folder: Path) -> dict[str, str]:
    """Variables of a process whose hub is this one: huggingface_hub reads its address but once, when imported."""
    return {"HF_ENDPOINT": address, "HF_HUB_CACHE": str(folder / "hub")}


def test_a_model_is_fetched_once_and_then_found_by_its_name(run: Run, tiny: Path, tmp_path: Path) -> None:
    shell = runner(tmp_path)
    source = copy_of(tiny, tmp_path / "source")
    (source / "README.md").write_text("not needed")
    with hub_of(source) as (address, taken):
        done = shell("model", "fetch", REPOSITORY_NAME, env=around(address, tmp_path))
        assert (done.returncode, done.stderr) == (0, b"")
        assert sorted(taken) == sorted(str(p.relative_to(tiny)) for p in tiny.rglob("*") if p.is_file())
        folder = Path(done.stdout.decode().strip())
        assert folder.name == COMMIT
        taken.clear()
        again = shell("model", "fetch", REPOSITORY_NAME, "--out", "plain", env=around(address, tmp_path))
        assert again.stdout == b"plain\n"
        assert taken == []
    assert not any(path.is_symlink() for path in (tmp_path / "plain").rglob("*"))
    assert read(str(tmp_path / "plain")).fingerprint() == read(REPOSITORY_NAME).fingerprint()
    checked = run("model", "check", "plain")
    assert checked.returncode == 0
    assert b"plain: usable, 6 million parameters in 2 files" in checked.stdout
    assert run("model", "check", REPOSITORY_NAME).returncode == 0


def test_a_model_that_is_no_use_is_told_after_it_was_fetched(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "config.json").write_text('{"model_type": "bert"}')
    with hub_of(tmp_path / "source") as (address, _):
        words = ("model", "fetch", REPOSITORY_NAME, "--out", "plain")
        done = runner(tmp_path)(*words, env=around(address, tmp_path))
    assert done.returncode == 1
    assert "holds a 'bert' model" in complaint(done)
    assert not (tmp_path / "plain").exists()


def test_no_network_is_told_in_one_line(run: Run) -> None:
    done = run("model", "fetch", REPOSITORY_NAME)
    assert done.returncode == 1
    assert "cannot be fetched ([Errno 111] Connection refused)" in complaint(done)
    assert "HTTPS_PROXY" in complaint(done)


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (401, "RepoNotFound", "correct the name, or set HF_TOKEN"),
        (401, "", "set HF_TOKEN"),
        (403, "GatedRepo", "set HF_TOKEN"),
        (404, "RepoNotFound", "there is no model Somebody/Tiny-Base; correct the name"),
        (404, "RevisionNotFound", "has no revision v9; name a branch, tag or commit"),
    ],
)
def test_what_the_hub_denies_is_told(
    status: int, code: str, said: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hub_of(tmp_path, denial=(status, code)) as (address, _):
        monkeypatch.setattr(constants, "ENDPOINT", address)
        done = run("model", "fetch", REPOSITORY_NAME, "--revision", "v9")
    assert done.returncode == 1
    assert said in complaint(done)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "no space left for the weights"),
        (PermissionError(errno.EACCES, "Permission denied"), "a directory that this user may write"),
    ],
)
def test_a_disk_that_is_full_or_closed_is_told(
    error: OSError, said: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> str:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", stopped)
    done = run("model", "fetch", REPOSITORY_NAME)
    assert done.returncode == 1
    assert said in complaint(done)


def test_a_copy_that_cannot_be_written_is_told(
    run: Run, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(tiny))
    done = run("model", "fetch", REPOSITORY_NAME, "--out", "file/plain")
    assert done.returncode == 1
    assert "a directory that this user may write" in complaint(done)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["fetch", "source"], "makima-tts model check source"),
        (["fetch", "nonsense"], "hub name"),
        (["fetch", "Some--body/x..y"], "hub name"),
        (["fetch", REPOSITORY_NAME, "--out", "source"], "source is not empty"),
        (["check", "nonsense"], "neither a directory nor a hub name"),
        (["check", "empty"], "no model directory"),
    ],
)
def test_a_wrong_name_is_told(words: list[str], said: str, run: Run, tiny: Path, tmp_path: Path) -> None:
    copy_of(tiny, tmp_path / "source")
    (tmp_path / "empty").mkdir()
    done = run("model", *words)
    assert done.returncode == 1
    assert said in complaint(done)
