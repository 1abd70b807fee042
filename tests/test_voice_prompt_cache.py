"""Prompts in a folder: what is stored comes back, and nothing else ever does."""

from __future__ import annotations

import logging
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from worker.voices.prompt_cache import PromptCache

pytest.importorskip("safetensors", reason="prompts are kept with safetensors, which comes with makima-tts[qwen]")

KEY = "ab" * 32
TENSORS: dict[str, NDArray[Any]] = {
    "codes": np.arange(320).reshape(20, 16),
    "speaker": np.linspace(-1, 1, 64, dtype=np.float32),
}


@pytest.fixture
def cache(tmp_path: Path) -> PromptCache:
    return PromptCache(tmp_path / "cache" / "prompts")


def stored(cache: PromptCache) -> Path:
    cache.store("alice", KEY, TENSORS, {"made_by": "a test"})
    (file,) = cache.folder.iterdir()
    assert file == cache.file_of("alice", KEY)
    return file


def test_tensors_come_back_as_they_were_stored(cache: PromptCache) -> None:
    assert cache.load("alice", KEY) is None
    cache.store("alice", KEY, TENSORS | {"turned": np.arange(6.0).reshape(2, 3).T, "none": np.zeros((0, 16))})
    loaded = cache.load("alice", KEY)
    assert loaded is not None
    assert loaded["turned"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert loaded["none"].shape == (0, 16)
    for name, tensor in TENSORS.items():
        np.testing.assert_array_equal(loaded[name], tensor)


def test_a_file_says_to_whom_it_belongs(cache: PromptCache) -> None:
    from safetensors import safe_open

    with safe_open(stored(cache), framework="numpy") as file:
        metadata = file.metadata()
    assert (metadata["voice"], metadata["key"], metadata["made_by"]) == ("alice", KEY, "a test")


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize("kept", [0, 5, 8, 100, 0.5, -1])
def test_a_truncated_file_is_named_and_not_used(
    cache: PromptCache, caplog: pytest.LogCaptureFixture, kept: float
) -> None:
    file = stored(cache)
    data = file.read_bytes()
    file.write_bytes(data[: int(kept) if isinstance(kept, int) else int(len(data) * kept)])
    assert cache.load("alice", KEY) is None
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert str(file) in record.getMessage()
    assert "is damaged" in record.getMessage()


def test_any_changed_byte_makes_a_file_useless(cache: PromptCache) -> None:
    file = stored(cache)
    data = file.read_bytes()
    harmless = data.index(b'"made_by"'), data.index(b'"made_by"') + len(b'"made_by":"a test"')
    free = [data.index(b'"voice"') + at for at in range(len(b'"voice":"alice"'))]
    for at in range(0, len(data), 11):
        if harmless[0] <= at < harmless[1] or at in free:
            continue  # what is there for people to read
        file.write_bytes(flip(data, at))
        assert cache.load("alice", KEY) is None, at
    file.write_bytes(data)
    assert cache.load("alice", KEY) is not None


def test_another_voices_file_in_its_place_is_not_used(cache: PromptCache, caplog: pytest.LogCaptureFixture) -> None:
    file = stored(cache)
    other = KEY[:16] + "0" * 48  # the same name
    assert cache.load("alice", other) is None
    assert f"{file} belongs to another recording, transcript, model or dtype" in caplog.text


def test_tensors_of_other_origin_are_not_used(cache: PromptCache, caplog: pytest.LogCaptureFixture) -> None:
    from safetensors.numpy import save_file

    file = stored(cache)
    save_file(TENSORS, file)
    assert cache.load("alice", KEY) is None
    save_file(TENSORS, file, metadata={"format": "makima-tts prompt file 0", "key": KEY})
    assert cache.load("alice", KEY) is None
    assert caplog.text.count("was not written by this version of makima-tts") == 2


def test_nothing_in_the_cache_is_ever_unpickled(cache: PromptCache, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "sprung",)

    file = stored(cache)
    file.write_bytes(pickle.dumps(Trap()))
    assert cache.load("alice", KEY) is None
    with file.open("wb") as opened:
        np.save(opened, np.array([Trap()], dtype=object), allow_pickle=True)
    assert cache.load("alice", KEY) is None
    assert not (tmp_path / "sprung").exists()


def test_a_file_far_too_large_is_not_read(cache: PromptCache, caplog: pytest.LogCaptureFixture) -> None:
    file = stored(cache)
    os.truncate(file, 300 << 20)  # without blocks on the disk
    assert cache.load("alice", KEY) is None
    assert "is larger than 256 MiB" in caplog.text


def test_what_is_no_plain_file_is_neither_read_nor_waited_for(
    cache: PromptCache, caplog: pytest.LogCaptureFixture
) -> None:
    file = stored(cache)
    file.unlink()
    os.mkfifo(file)
    assert cache.load("alice", KEY) is None
    file.unlink()
    file.mkdir()
    assert cache.load("alice", KEY) is None
    assert caplog.text.count("is not a regular file") == 2
    cache.store("alice", KEY, TENSORS)
    assert "cannot be written" in caplog.text
    assert list(cache.folder.iterdir()) == [file]


# Folders


def test_only_unfinished_files_that_were_abandoned_are_dropped(cache: PromptCache) -> None:
    cache.folder.mkdir(parents=True)
    fresh, old = cache.folder / ".a.safetensors.1.unfinished", cache.folder / ".b.safetensors.2.unfinished"
    for unfinished in (fresh, old):
        unfinished.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    cache.store("alice", KEY, TENSORS)
    assert {entry.name for entry in cache.folder.iterdir()} == {fresh.name, cache.file_of("alice", KEY).name}


def test_a_write_that_fails_midway_leaves_the_old_file_and_no_other(
    cache: PromptCache, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    file = stored(cache)
    data = file.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        cache.store("alice", KEY, {"codes": np.zeros(5)})
    assert f"{file} cannot be written (No space left on device)" in caplog.text
    assert list(cache.folder.iterdir()) == [file]
    assert file.read_bytes() == data


WRITER = """
import sys, numpy as np
from pathlib import Path
from worker.voices.prompt_cache import PromptCache
for n in range(40):
    PromptCache(Path(sys.argv[1])).store("alice", "ab" * 32, {"same": np.full(50_000, int(sys.argv[2]) * 100 + n)})
"""


@pytest.mark.slow
def test_workers_that_write_at_once_never_show_a_reader_half_a_file(
    cache: PromptCache, caplog: pytest.LogCaptureFixture
) -> None:
    stored(cache)
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(cache.folder), str(n)]) for n in range(3)]
    n_seen = 0
    while None in [writer.poll() for writer in writers]:
        tensors = cache.load("alice", KEY)
        assert tensors is not None
        n_seen += "same" in tensors and np.unique(tensors["same"]).size == 1
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert n_seen > 0
    assert caplog.records == []
    assert len(list(cache.folder.iterdir())) == 1
