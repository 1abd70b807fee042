"""The process that parses: `python -m tests.fuzz.child ARENA FOLDER REPORT-FD`, a shard a line on its standard input.

It may die of any input. Before each one is parsed it lies in the arena, a file shared with the parent.
"""

from __future__ import annotations

import base64
import json
import mmap
import os
import re
import shutil
import struct
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from random import Random

from tests.fuzz.guard import Guard
from tests.fuzz.reached import Reached
from tests.fuzz.shard import Finding, Shard, Tally
from tests.fuzz.target import Broken, Target, found

HEADER = struct.Struct("<QQ")  # number of the input in its shard, its length
ARENA_BYTES = 8 * 1024 * 1024
MAX_KEPT = 400
MAX_KEPT_BYTES = 64 * 1024  # what is made of a long input is long, and takes long
_REPOSITORY = f"{Path(__file__).resolve().parents[2]}/"


class Series:
    """One shard being worked off."""

    def __init__(self, shard: Shard, guard: Guard, folder: Path, arena: mmap.mmap) -> None:
        self._shard = shard
        self._target: Target = found(shard.place)
        self._guard = guard
        self._folder = folder
        self._arena = arena
        self._reached = Reached(self._target.modules)
        self._shapes: set[str] = set()
        self._seen: set[str] = set()
        self.tally = Tally(shard.place)

    def warm_up(self) -> None:
        """Parse a few seeds before anything is measured: imports and tables are made now."""
        for data in self._target.seeds()[:3]:
            self._lay(data)
            with suppress(Exception):
                self._target.parse(data, self._folder)

    def run(self) -> Tally:
        """Parse every input: first the seeds as they are, then what is made of them and of those that were kept."""
        started = time.monotonic()
        if self._shard.replay is not None:
            self._try(0, base64.b64decode(self._shard.replay))
            self.tally.n_inputs = 1
        else:
            for index, data in self._inputs():
                self._try(index, data)
                self.tally.n_inputs += 1
        self.tally.seconds = time.monotonic() - started
        self.tally.n_lines = self._reached.n_lines
        return self.tally

    def _inputs(self) -> Iterator[tuple[int, bytes]]:
        seeds: Sequence[bytes] = self._target.seeds()
        kept: list[bytes] = []
        n_seeds = len(seeds)
        for index in range(self._shard.first, self._shard.last):
            if index < n_seeds:
                data = seeds[index]
            else:
                draw = Random(f"{self._shard.seed} {self._shard.place} {self._shard.number} {index}")
                parent = draw.choice(kept) if kept and draw.random() < 0.4 else draw.choice(seeds)
                data = self._target.mutate(draw, parent, draw.choice(seeds))
                if len(data) > ARENA_BYTES - HEADER.size:  # cut short, it would not be what the target packs
                    data = parent
            before = self._reached.n_lines, len(self._shapes)
            yield index, data
            is_new = before != (self._reached.n_lines, len(self._shapes))
            if is_new and index >= n_seeds and len(kept) < MAX_KEPT and len(data) <= MAX_KEPT_BYTES:
                kept.append(data)
                self.tally.n_kept += 1

    def _try(self, index: int, data: bytes) -> None:
        self._arena[HEADER.size : HEADER.size + len(data)] = data
        self._arena[: HEADER.size] = HEADER.pack(index, len(data))
        self._lay(data)
        self._guard.begin(self._target.allowed)
        started = time.process_time()
        problem: tuple[str, str, str] | None = None
        try:
            with self._reached:
                self.tally.n_accepted += self._target.parse(data, self._folder)
        except self._target.declared as error:
            problem = self._judged(error)
        except Broken as error:
            problem = "property", str(error), str(error)[:60]
        except BaseException as error:
            problem = "exception", f"{type(error).__name__}: {error!s:.200}", _where(error)
        self._guard.end()
        self._measured(data, time.process_time() - started)
        if problem:
            self._report(data, *problem)

    def _lay(self, data: bytes) -> None:
        for left in self._folder.iterdir():
            shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
        self._target.lay(data, self._folder)

    def _judged(self, error: Exception) -> tuple[str, str, str] | None:
        """What is wrong with an error's words, though it is one of those that are declared."""
        self._shapes.add(_shape(error))
        words = str(error)
        if len(words) > self._target.message_chars:
            return "message", f"{type(error).__name__} of {len(words)} characters: {words[:80]}", _where(error)
        try:
            words.encode()
        except UnicodeEncodeError:
            return "message", f"{type(error).__name__} cannot be printed: {words[:80]!a}", _where(error)
        return None

    def _measured(self, data: bytes, seconds: float) -> None:
        tally, target = self.tally, self._target
        grown_mib = self._guard.grown_mib()
        tally.slowest_s = max(tally.slowest_s, seconds)
        tally.most_mib = max(tally.most_mib, grown_mib)
        if seconds > target.cpu_s and (seconds := self._seconds_unwatched(data)) > target.cpu_s:
            self._report(data, "slow", f"{seconds:.1f} s for {len(data)} bytes", "")
        if grown_mib > target.memory_mib:
            self._report(data, "memory", f"{grown_mib:.0f} MiB for {len(data)} bytes", "")
        for deed in self._guard.deeds():
            self._report(data, "deed", deed, deed[:12])

    def _seconds_unwatched(self, data: bytes) -> float:
        self._guard.begin(self._target.allowed)
        started = time.process_time()
        with suppress(Exception):
            self._target.parse(data, self._folder)
        self._guard.end()
        return time.process_time() - started

    def _report(self, data: bytes, kind: str, what: str, where: str) -> None:
        if f"{kind} {where}" not in self._seen:
            self._seen.add(f"{kind} {where}")
            found_now = Finding(self._shard.place, kind, what, where, base64.b64encode(data).decode())
            self.tally.findings.append(found_now)


def _shape(error: Exception) -> str:
    """An error's words without what was put into them: two of one shape went the same way."""
    return f"{type(error).__name__} " + re.sub(r"'[^']*'|\"[^\"]*\"|[\d,.]+|/\S+", "*", str(error)[:200])[:80]


def _where(error: BaseException) -> str:
    """The innermost line of the project that an error came through, and its type."""
    places = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
    ours = [place.removeprefix(_REPOSITORY) for place in places if place.startswith(_REPOSITORY)]
    parsers = [place for place in ours if not place.startswith(("tests/", ".venv/"))]
    return f"{type(error).__name__} at {(parsers or ours or places)[-1]}"


def main(arena_file: str, folder: str, report_fd: str) -> None:
    report = os.fdopen(int(report_fd), "w", encoding="utf-8")
    with Path(arena_file).open("r+b") as opened:
        arena = mmap.mmap(opened.fileno(), ARENA_BYTES)
    os.chdir(folder)
    guard: Guard | None = None
    for line in sys.stdin:
        shard = Shard(**json.loads(line))
        guard = guard or Guard(Path(folder))
        series = Series(shard, guard, Path(folder), arena)
        series.warm_up()
        guard.deeds()
        guard.limit_memory()
        tally = series.run()
        report.write(json.dumps(asdict(tally)) + "\n")
        report.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
