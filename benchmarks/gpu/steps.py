"""Steps of a run, and the process that makes them: `python -m benchmarks.gpu.steps OPTIONS`, started by `parts`.

A step has a time limit, and its outcome is on disk before the next one begins. The process ends when a step leaves the
GPU unusable, or when a step fails that the others need; `parts` starts another one for the rest.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from math import isfinite
from pathlib import Path
from typing import Any

FORMAT = 1
UNUSABLE, NEEDED_FAILED = 3, 4  # exit statuses
PARTS = ("micro", "figures", "tests")
Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one part's run.

    part: one of PARTS, or a module with a function `steps` as theirs. only: names of steps; empty for all. attempt:
    counts the part's processes.
    """

    part: str
    out: str
    device: str = "cuda"
    model: str = ""
    dtype: str = "auto"
    kernels: str = "auto"
    slots: int = 64
    frames: int = 100
    positions: int = 2048
    tag: str = ""
    commit: str = ""
    only: tuple[str, ...] = ()
    attempt: int = 1

    @property
    def is_cuda(self) -> bool:
        return self.device.startswith("cuda")

    @property
    def name(self) -> str:
        return self.part.rpartition(".")[2] + (f"-{self.tag}" if self.tag else "")

    @property
    def folder(self) -> Path:
        """Where the steps' outcomes lie, a file each."""
        return Path(self.out) / "steps" / self.name

    def path(self, step: str) -> Path:
        return self.folder / f"{step.replace(' ', '-')}.json"

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Options:
        given = json.loads(text)
        return cls(**given | {"only": tuple(given["only"])})


@dataclass(frozen=True, slots=True)
class Step:
    """A named measurement with a time limit. is_needed: the steps after it cannot do without."""

    name: str
    limit_s: int
    function: Callable[[], object]
    is_needed: bool = False


def steps_of(options: Options) -> list[Step]:
    """The steps of a part, in order. Imports no torch: a step does when it runs."""
    module = f"benchmarks.gpu.{options.part}" if options.part in PARTS else options.part
    made: list[Step] = import_module(module).steps(options)
    names = {step.name for step in made}
    if unknown := sorted(set(options.only) - names):
        raise ValueError(f"{options.part} has no step {', '.join(unknown)}; it has {', '.join(sorted(names))}")
    return [step for step in made if step.is_needed or not options.only or step.name in options.only]


def write(path: Path, record: Record) -> None:
    """Write a JSON file as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part")
    draft.write_text(json.dumps(record, indent=1, default=str) + "\n", "utf-8")
    draft.replace(path)


def run(options: Options, step: Step) -> BaseException | None:
    """Run a step and write its outcome. Returns the error that it ended with."""
    name = step.name if options.attempt == 1 or not step.is_needed else f"{step.name} {options.attempt}"
    record: Record = {"step": name, "state": "running", "limit_s": step.limit_s, "began": time.time()}
    write(options.path(name), record)
    error = None
    signal.alarm(step.limit_s)
    try:
        record["result"] = _finite(step.function())
        _finish_device(options)
        record["state"] = "done"
    except Exception as caught:  # a run goes on after any failed step
        error = caught
        record |= {"state": "failed", "error": f"{type(caught).__name__}: {caught}"[:2000]}
        record["where"] = traceback.format_exc()[-4000:]
    finally:
        signal.alarm(0)
    record["seconds"] = round(time.time() - record["began"], 2)
    write(options.path(name), record)
    return error


def _finite(result: Any) -> Any:
    """The same with keys and numbers that JSON has: an infinite or undefined number becomes its name."""
    if isinstance(result, Mapping):
        return {str(key): _finite(value) for key, value in result.items()}
    if isinstance(result, list | tuple):
        return [_finite(value) for value in result]
    return str(result) if isinstance(result, float) and not isfinite(result) else result


def _finish_device(options: Options) -> None:
    """Wait for the device, so that an asynchronous error counts for the step that caused it."""
    if options.is_cuda and (torch := sys.modules.get("torch")) is not None:
        torch.cuda.synchronize()


def _late(*_: object) -> None:
    raise TimeoutError("the step's time is over")


def main() -> int:
    """Run the steps that have no outcome yet."""
    options = Options.from_json(sys.argv[1])
    signal.signal(signal.SIGALRM, _late)
    from worker.engine.health import is_beyond_repair

    for step in steps_of(options):
        if not step.is_needed and options.path(step.name).exists():
            continue
        error = run(options, step)
        if error is not None and is_beyond_repair(error):
            return UNUSABLE
        if error is not None and step.is_needed:
            return NEEDED_FAILED
    return 0


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # a context that is unusable may block an orderly exit
