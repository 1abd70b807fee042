"""A part of a run: its processes, one after the other until every step has an outcome, and the part's JSON file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.gpu.steps import FORMAT, NEEDED_FAILED, Options, Record, Step, steps_of, write

ROOT = Path(__file__).parents[2]
GRACE_S = 10  # a step that blocks outside Python does not see its alarm; the process is killed so much later
LOOK_S = 0.1


class Part:
    """One part's steps. until_s: of time.monotonic, when the whole run ends."""

    def __init__(self, options: Options, until_s: float) -> None:
        self._options = options
        self._until_s = until_s
        self._steps = steps_of(options)
        self._printed: set[str] = set()

    def run(self) -> None:
        """Run all steps. Processes that end early are followed by others; a step that ended one is not repeated."""
        shutil.rmtree(self._options.folder, ignore_errors=True)
        self._write()
        attempt = 0
        while self._open_steps():
            attempt += 1
            n_open = len(self._open_steps())
            status = self._process(replace(self._options, attempt=attempt))
            if status == NEEDED_FAILED:
                self._give_up("a step that it needs failed")
            elif time.monotonic() >= self._until_s:
                self._give_up("the run's time was over")
            elif len(self._open_steps()) == n_open:
                self._give_up(f"its process ended before it ({_meaning(status)})")
            self._write()

    def _process(self, options: Options) -> int:
        """Run one process to its end, or until its step or the whole run is out of time. Returns its exit status."""
        command = [sys.executable, "-m", "benchmarks.gpu.steps", options.to_json()]
        process = subprocess.Popen(command, cwd=ROOT, env=_environment(options))  # noqa: S603
        try:
            while process.poll() is None:
                time.sleep(LOOK_S)
                self._print()
                if time.monotonic() >= self._until_s or self._is_hung():
                    process.kill()
            status = process.wait()
        finally:
            process.kill()
            process.wait()
        for name, record in records(self._options).items():
            if record["state"] == "running":
                seconds = round(time.time() - record["began"], 2)
                lost = {"state": "lost", "error": f"its process ended: {_meaning(status)}", "seconds": seconds}
                write(options.path(name), record | lost)
        self._print()
        return status

    def _is_hung(self) -> bool:
        running = [record for record in records(self._options).values() if record["state"] == "running"]
        return any(time.time() > record["began"] + record["limit_s"] + GRACE_S for record in running)

    def _open_steps(self) -> list[Step]:
        """Those without an outcome."""
        recorded = records(self._options)
        return [step for step in self._steps if step.name not in recorded]

    def _give_up(self, reason: str) -> None:
        for step in self._open_steps():
            record = {"step": step.name, "state": "not run", "limit_s": step.limit_s, "error": reason}
            write(self._options.path(step.name), record)

    def _print(self) -> None:
        """Print each outcome once, and put it into the part's file."""
        for name, record in records(self._options).items():
            if name in self._printed or record["state"] == "running":
                continue
            self._printed.add(name)
            found = record.get("error") or json.dumps(record.get("result"))
            print(
                f"{self._options.name}, {name}: {record['state']}, {record.get('seconds')} s: {found[:300]}", flush=True
            )
            self._write()

    def _write(self) -> None:
        found = records(self._options)
        made: dict[str, Any] = {"format": FORMAT, "part": self._options.name, "device": _device(found)}
        made["options"] = json.loads(self._options.to_json())
        write(self._options.folder.parents[1] / f"{self._options.name}.json", made | {"steps": found})


def _device(found: dict[str, Record]) -> Record:
    """What the step `device` found; empty before."""
    result = found.get("device", {}).get("result")
    return result if isinstance(result, dict) else {}


def _meaning(status: int) -> str:
    return f"killed by signal {-status}" if status < 0 else f"exit status {status}"


def _environment(options: Options) -> dict[str, str]:
    """On a CPU one thread: torch's threads wait for each other by spinning, and a trial needs no speed."""
    return dict(os.environ) | ({} if options.is_cuda else {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"})


def records(options: Options) -> dict[str, Record]:
    """The outcome of every step of a part that has one, in the order in which they ended."""
    paths = sorted(options.folder.glob("*.json"), key=lambda path: path.stat().st_mtime)
    found = (json.loads(path.read_text("utf-8")) for path in paths)
    return {record["step"]: record for record in found}


def is_sound(options: Options) -> bool:
    """Whether every step of a part is done, and no test failed or was lost."""
    return all(
        record["state"] == "done" and not (isinstance(record["result"], dict) and _failed(record["result"]))
        for record in records(options).values()
    )


def _failed(result: Record) -> bool:
    return bool({"failed", "lost", "not run"} & set(result.get("counts", ())))
