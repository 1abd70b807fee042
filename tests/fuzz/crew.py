"""Starts the processes that parse. A process that dies is a finding, and another goes on after its last input."""

from __future__ import annotations

import base64
import json
import multiprocessing
import signal
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.fuzz import child
from tests.fuzz.child import N_NUMBER, Shard
from tests.fuzz.target import Finding, Tally, Target

MAX_DEATHS = 5  # of one target
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.fuzz.child"])
HANGS = (signal.SIGPROF, signal.SIGALRM)


def shards_of(targets: Sequence[Target], n_inputs: int, seed: str) -> list[Shard]:
    """The inputs of a run, divided among the targets by weight; the largest share first."""
    whole = sum(target.weight for target in targets)
    shards = [Shard(target.name, seed, max(2, round(n_inputs * target.weight / whole))) for target in targets]
    return sorted(shards, key=lambda shard: -shard.n_inputs)


def work_off(shards: Sequence[Shard], n_processes: int) -> list[Tally]:
    """Parse the inputs of all shards. A shard has a tally more for every process that died."""
    with ThreadPoolExecutor(n_processes) as pool:
        return [tally for tallies in pool.map(_worked_off, shards) for tally in tallies]


def _worked_off(shard: Shard) -> list[Tally]:
    tallies: list[Tally] = []
    rest: Shard | None = shard
    while rest is not None and len(tallies) < MAX_DEATHS:
        tally, rest = _parsed(rest)
        tallies.append(tally)
    return tallies


def _parsed(shard: Shard) -> tuple[Tally, Shard | None]:
    """The tally of one process, and the inputs that are left where it died."""
    with TemporaryDirectory(prefix="fuzz-") as name:
        folder = Path(name)
        process = FORKS.Process(target=child.main, args=(shard, folder))
        process.start()
        process.join()
        if (folder / "tally").exists():
            raw = json.loads((folder / "tally").read_text("utf-8"))
            return Tally(**(raw | {"findings": [Finding(**finding) for finding in raw["findings"]]})), None
        message = (folder / "errors").read_text(errors="replace").strip()[-2000:]
        return _death(shard, process.exitcode or 0, (folder / "now").read_bytes(), message)


def _death(shard: Shard, code: int, now: bytes, message: str) -> tuple[Tally, Shard | None]:
    if not now:
        raise RuntimeError(f"{shard.target}: its process ended with {code} before the first input: {message}")
    n_done = int.from_bytes(now[:N_NUMBER], "little") + 1
    number = signal.Signals(-code) if code < 0 else None
    how = number.name if number else f"exit code {code}"
    text = base64.b64encode(now[N_NUMBER:]).decode()
    finding = Finding(shard.target, "hang" if number in HANGS else "crash", f"{how} {message}".strip(), how, text)
    is_last = shard.replay is not None or n_done >= shard.n_inputs
    tally = Tally(shard.target, n_done - shard.first, findings=[finding])
    return tally, None if is_last else replace(shard, first=n_done)
