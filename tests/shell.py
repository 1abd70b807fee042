"""The command line as a user runs it: in a folder of its own, by its installed name or in this process.

Starting a Python for each of a hundred commands would make the tests slow; only what is about the process itself (raw
samples, closed pipes, workers, its last line) runs in one of its own.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from worker import cli

BIN = Path(sys.executable).parent
_FROM_A_MAKE = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "TEXT", "OUT", "VENV", "PYTHON")
# espeak-ng starts within 20 ms, the natural voices within two seconds: their own tests name them.
PREVIEW_VOICES = os.environ.get("MAKIMA_TTS_PREVIEW_VOICES", "espeak-ng")
ENVIRONMENT = {
    name: value for name, value in os.environ.items() if name not in _FROM_A_MAKE and not name.startswith("MAKIMA_TTS_")
} | {"PATH": f"{BIN}:{os.environ['PATH']}", "MAKIMA_TTS_PREVIEW_VOICES": PREVIEW_VOICES}

Done = subprocess.CompletedProcess[bytes]
Run = Callable[..., Done]


def runner(folder: Path) -> Run:
    """A function that runs `makima-tts` with these words in the folder; env: variables to add."""

    def call(*words: str, env: dict[str, str] | None = None) -> Done:
        return subprocess.run(
            [BIN / "makima-tts", *words],
            cwd=folder,
            env=ENVIRONMENT | (env or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=60,
        )

    return call


def here(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The same as `runner`, in this process."""

    def call(*words: str, env: dict[str, str] | None = None) -> Done:
        handlers = list(logging.getLogger().handlers)
        capsys.readouterr()
        with monkeypatch.context() as patch:
            patch.chdir(folder)
            patch.setattr(sys, "argv", ["makima-tts", *words])
            for name in [name for name in os.environ if name.startswith("MAKIMA_TTS_")]:
                patch.delenv(name)
            for name, value in {"MAKIMA_TTS_PREVIEW_VOICES": PREVIEW_VOICES, **(env or {})}.items():
                patch.setenv(name, value)
            status = _status()
        logging.captureWarnings(False)
        for handler in [handler for handler in logging.getLogger().handlers if handler not in handlers]:
            logging.getLogger().removeHandler(handler)
        out, err = capsys.readouterr()
        return Done(list(words), status, out.encode(), err.encode())

    return call


def _status() -> int:
    """What the interpreter makes of main's end."""
    try:
        cli.main()
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
            return 1
        return end.code or 0
    return 0


def start(folder: Path, *words: str, **more: Any) -> subprocess.Popen[bytes]:
    """`makima-tts` with these words, not waited for."""
    return subprocess.Popen([BIN / "makima-tts", *words], cwd=folder, env=ENVIRONMENT, stderr=subprocess.PIPE, **more)


def complaint(done: Done) -> str:
    """The one line on stderr of a command that failed."""
    lines = done.stderr.decode().splitlines()
    assert len(lines) == 1, done.stderr.decode()
    assert done.stdout == b""
    return lines[0]


def audible_s(path: Path) -> float:
    """Seconds of the file, in steps of 10 ms, that can be heard."""
    pcm, rate = soundfile.read(path, dtype="float32")
    steps = pcm[: len(pcm) // (rate // 100) * (rate // 100)].reshape(-1, rate // 100)
    return float((np.sqrt((steps**2).mean(axis=1)) > 0.01).sum() / 100)
