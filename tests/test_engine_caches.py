"""torch and numba can be imported for users who have neither a name nor a home."""

from __future__ import annotations

import getpass
import os
import tempfile
from pathlib import Path

import pytest

from worker.engine.caches import provide_caches

NAMES = ("TORCHINDUCTOR_CACHE_DIR", "NUMBA_CACHE_DIR", "TRITON_CACHE_DIR")


@pytest.fixture(autouse=True)
def unnamed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def folders() -> list[str | None]:
    return [os.environ.get(name) for name in NAMES]


def nobody() -> str:
    raise KeyError("uid not found")


def no_folder() -> str:
    raise FileNotFoundError("no usable temporary directory found")


def test_a_user_with_a_home_keeps_what_the_libraries_choose(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    provide_caches()
    assert folders() == [None, None, None]


def test_a_user_without_a_name_and_a_home_gets_temporary_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getuser", nobody)
    monkeypatch.setenv("HOME", "/nonexistent")
    provide_caches()
    assert all(folder is not None and folder.startswith(tempfile.gettempdir()) for folder in folders())


def test_where_nothing_can_be_written_torch_gets_a_folder_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getuser", nobody)
    monkeypatch.setattr(tempfile, "gettempdir", no_folder)
    monkeypatch.setenv("HOME", "/nonexistent")
    provide_caches()
    assert folders() == ["/", None, None]


def test_a_user_of_whom_the_system_knows_no_home_gets_one_that_may_be_left_empty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", "~")
    provide_caches()
    assert Path(os.environ["HOME"]).is_absolute()


def test_a_folder_that_is_named_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getuser", nobody)
    monkeypatch.setenv("HOME", "/nonexistent")
    for name in NAMES:
        monkeypatch.setenv(name, "/mine")
    provide_caches()
    assert folders() == ["/mine"] * 3
