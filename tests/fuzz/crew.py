"""The processes that parse, and who watches them: a child that dies is a finding, and the next one goes on after it."""

from __future__ import annotations

import base64
import json
import mmap
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from typing import Any

from tests.fuzz.child import ARENA_BYTES, HEADER
from tests.fuzz.shard import Finding, Shard, Tally
from tests.fuzz.target import Target

MAX_DEATHS = 5  # of one shard: what kills every time need not be shown again
REPOSITORY = Path(__file__).resolve().parents[2]
ENDS = {signal.SIGPROF: "hang", signal.SIGALRM: "hang"}


def shards_of(targets: Sequence[Target], n_inputs: int, seed: str) -> list[Shard]:
    """The inputs of a run, divided among the targets by weight, in two halves each so that two processes share them."""
    whole = sum(target.weight for target in targets)
    shards = []
    for target in targets:
        share = max(2, round(n_inputs * target.weight / whole))
        for number, last in enumerate((share - share // 2, share // 2)):
            shards.append(Shard(target.place, seed, number, 0, last))
    return shards


def work_off(shards: Sequence[Shard], n_processes: int) -> list[Tally]:
    """Parse them all. One tally a shard, more where a child died on the way."""
    todo: SimpleQueue[Shard | None] = SimpleQueue()
    for shard in (*shards, *[None] * n_processes):
        todo.put(shard)
    with ThreadPoolExecutor(n_processes) as pool:
        return [tally for tallies in pool.map(lambda _: _worked_off(todo), range(n_processes)) for tally in tallies]


def _worked_off(todo: SimpleQueue[Shard | None]) -> list[Tally]:
    """What became of the shards up to a None."""
    tallies: list[Tally] = []
    child: _Child | None = None
    while (rest := todo.get()) is not None:
        n_deaths = 0
        while rest is not None and n_deaths < MAX_DEATHS:
            child = child or _Child()
            tally, rest = child.parse(rest)
            tallies.append(tally)
            if child.has_died:
                child.close()
                child, n_deaths = None, n_deaths + 1
    if child is not None:
        child.close()
    return tallies


class _Child:
    """A process and the arena it shares with this one."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="fuzz-")
        folder = Path(self._folder.name)
        (folder / "in").mkdir()
        arena_file = folder / "arena"
        arena_file.write_bytes(bytes(ARENA_BYTES))
        with arena_file.open("r+b") as opened:
            self._arena = mmap.mmap(opened.fileno(), ARENA_BYTES)
        self._output = (folder / "output").open("w+b")
        self._errors = (folder / "errors").open("w+b")
        reading, writing = os.pipe()
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.child", str(arena_file), str(folder / "in"), str(writing)],
            cwd=REPOSITORY,
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=self._output,
            stderr=self._errors,
            pass_fds=[writing],
            text=True,
        )
        os.close(writing)
        self._report = os.fdopen(reading, encoding="utf-8")
        self.has_died = False

    def parse(self, shard: Shard) -> tuple[Tally, Shard | None]:
        """What became of the shard, and what is left of it where the child died."""
        assert self._popen.stdin is not None
        self._arena[: HEADER.size] = HEADER.pack(shard.first, 0)
        self._popen.stdin.write(json.dumps({name: getattr(shard, name) for name in shard.__slots__}) + "\n")
        self._popen.stdin.flush()
        line = self._report.readline()
        if line:
            return _tally(json.loads(line)), None
        self.has_died = True
        return self._death(shard)

    def _death(self, shard: Shard) -> tuple[Tally, Shard | None]:
        code = self._popen.wait()
        index, n_bytes = HEADER.unpack(self._arena[: HEADER.size])
        data = self._arena[HEADER.size : HEADER.size + n_bytes]
        kind = ENDS.get(signal.Signals(-code), "crash") if code < 0 else "crash"
        ended = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        words = Path(self._errors.name).read_text(errors="replace").strip()[-2000:]
        finding = Finding(shard.place, kind, f"{ended} {words}".strip(), ended, base64.b64encode(data).decode())
        rest = replace(shard, first=index + 1)
        n_inputs = index + 1 - shard.first
        return Tally(shard.place, n_inputs, findings=[finding]), rest if rest.first < rest.last else None

    def close(self) -> None:
        assert self._popen.stdin is not None
        self._popen.stdin.close()
        self._popen.wait()
        self._report.close()
        self._output.close()
        self._errors.close()
        self._arena.close()
        self._folder.cleanup()


def _environment() -> dict[str, str]:
    """One thread each for what would start many; nothing that a parser could take for a setting."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MAKIMA_TTS_")}
    return kept | {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def _tally(raw: dict[str, Any]) -> Tally:
    return Tally(**(raw | {"findings": [Finding(**finding) for finding in raw["findings"]]}))
