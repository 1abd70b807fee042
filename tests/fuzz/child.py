"""The process that parses. It may die of any input.

Before an input is parsed, it is written to the file `now`, behind its number. The tally is written at the end.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import time
import traceback
import warnings
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis.errors import Flaky, HypothesisWarning

from tests.fuzz import faulty
from tests.fuzz.guard import Guard
from tests.fuzz.target import Broken, Finding, Tally
from tests.fuzz.targets import TARGETS

N_NUMBER = 8  # bytes of an input's number
SHRINK_S = 20  # of one fault
BY_NAME = {target.name: target for target in (*TARGETS, *faulty.TARGETS)}
_REPOSITORY = f"{Path(__file__).resolve().parents[2]}/"


@dataclass(frozen=True, slots=True)
class Shard:
    """The inputs of one target that one process parses. The same seed and n_inputs give the same inputs.

    first: the number of its first input, above 0 where an earlier process died.
    replay: base64 of the one input to parse instead.
    hang_s: CPU seconds after which an input is a hang.
    """

    target: str
    seed: str
    n_inputs: int
    first: int = 0
    replay: str | None = None
    hang_s: float = 20.0


class Fault(Exception):
    """Raised for Hypothesis, so that it looks for a shorter input with the same fault."""


class Hunt:
    """Parses the inputs of a shard, and keeps the shortest input of every fault."""

    def __init__(self, shard: Shard, guard: Guard, folder: Path) -> None:
        self._shard = shard
        self._target = BY_NAME[shard.target]
        self._guard = guard
        self._folder = folder / "in"
        self._now = (folder / "now").open("w+b", buffering=0)
        self._faults: dict[tuple[str, str], Finding] = {}
        self._shrunk: tuple[str, str] | None = None  # the fault that Hypothesis shrinks now
        self._shrinks_until = 0.0
        self._n = shard.first
        self.tally = Tally(shard.target)

    def warm_up(self) -> None:
        """Parse a few seeds before anything is measured, so that modules are imported and tables made."""
        for data in self._target.seeds()[:3]:
            self._lay(data)
            with suppress(Exception):
                self._target.parse(data, self._folder)

    def run(self) -> Tally:
        started = time.monotonic()
        if self._shard.replay is not None:
            self._try(base64.b64decode(self._shard.replay))
        else:
            for data in self._target.seeds()[self._shard.first : self._shard.n_inputs]:
                self._try(data)
            while self._n < self._shard.n_inputs and self._search():
                pass
        self.tally.n_inputs = self._n - self._shard.first
        self.tally.seconds = time.monotonic() - started
        self.tally.findings = list(self._faults.values())
        return self.tally

    def _search(self) -> bool:
        """Parse generated inputs until a new fault is found and shrunk. False: there was none."""
        number = sha256(f"{self._shard.seed} {self._n}".encode()).digest()[:8]
        how = settings(
            max_examples=self._shard.n_inputs - self._n,
            phases=[Phase.generate, Phase.shrink],
            database=None,
            deadline=None,
            verbosity=Verbosity.quiet,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        )
        self._shrunk = None
        with suppress(Fault, Flaky):
            seed(int.from_bytes(number, "big"))(how(given(self._target.inputs())(self._hunt)))()
            return False
        return True

    def _hunt(self, data: bytes) -> None:
        known = set(self._faults)
        fault = self._try(data)
        if fault is not None and fault not in known and self._shrunk is None:
            self._shrunk, self._shrinks_until = fault, time.monotonic() + SHRINK_S
        if fault is not None and fault == self._shrunk and time.monotonic() < self._shrinks_until:
            raise Fault(fault)

    def _try(self, data: bytes) -> tuple[str, str] | None:
        """Parse one input. Returns the fault that it shows every time: its kind and its place."""
        os.pwrite(self._now.fileno(), self._n.to_bytes(N_NUMBER, "little") + data, 0)
        self._now.truncate(N_NUMBER + len(data))
        self._n += 1
        self._lay(data)
        problem: tuple[str, str, str] | None = None
        seconds = time.process_time()
        self._guard.begin(self._target.allowed)
        try:
            self.tally.n_accepted += self._target.parse(data, self._folder)
        except self._target.declared as error:
            problem = self._judged(error)
        except Broken as error:
            problem = "property", str(error), str(error)[:60]
        except BaseException as error:
            problem = "exception", f"{type(error).__name__}: {error!s:.200}", _where(error)
        self._guard.end()
        self._measure(data, time.process_time() - seconds)
        return self._report(data, *problem) if problem else None

    def _lay(self, data: bytes) -> None:
        for left in self._folder.iterdir():
            shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
        self._target.lay(data, self._folder)

    def _judged(self, error: Exception) -> tuple[str, str, str] | None:
        """What is wrong with the message of a declared error."""
        message = str(error)
        if len(message) > self._target.message_chars:
            return "message", f"{type(error).__name__} of {len(message)} characters: {message[:80]}", _where(error)
        try:
            message.encode()
        except UnicodeEncodeError:
            return "message", f"{type(error).__name__} cannot be printed: {message[:80]!a}", _where(error)
        return None

    def _measure(self, data: bytes, seconds: float) -> None:
        tally, target = self.tally, self._target
        grown_mib = self._guard.grown_mib()
        tally.slowest_s = max(tally.slowest_s, seconds)
        tally.most_mib = max(tally.most_mib, grown_mib)
        if seconds > target.cpu_s:
            self._report(data, "slow", f"{seconds:.1f} s for {len(data)} bytes", "")
        if grown_mib > target.memory_mib:
            self._report(data, "memory", f"{grown_mib:.0f} MiB for {len(data)} bytes", "")
        for deed in self._guard.deeds():
            self._report(data, "deed", deed, deed[:12])

    def _report(self, data: bytes, kind: str, what: str, where: str) -> tuple[str, str]:
        known = self._faults.get((kind, where))
        text = base64.b64encode(data).decode()
        if known is None or len(text) < len(known.input):
            self._faults[kind, where] = Finding(self._shard.target, kind, what, where, text)
        return kind, where


def _where(error: BaseException) -> str:
    """The innermost line of the project that an error came through, and its type."""
    places = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
    ours = [place.removeprefix(_REPOSITORY) for place in places if place.startswith(_REPOSITORY)]
    parsers = [place for place in ours if not place.startswith(("tests/", ".venv/"))]
    return f"{type(error).__name__} at {(parsers or ours or places)[-1]}"


def main(shard: Shard, folder: Path) -> None:
    """Parse a shard's inputs in this process, whose output goes to files from here on."""
    inside = folder / "in"
    inside.mkdir()
    os.chdir(inside)
    for number, name in ((1, "output"), (2, "errors")):
        os.dup2(os.open(folder / name, os.O_RDWR | os.O_CREAT), number)
    for name in [name for name in os.environ if name.startswith("MAKIMA_TTS_")]:
        del os.environ[name]
    guard = Guard(inside, shard.hang_s)
    warnings.simplefilter("ignore", HypothesisWarning)  # of long inputs
    hunt = Hunt(shard, guard, folder)
    hunt.warm_up()
    guard.deeds()
    guard.limit_memory()
    tally = hunt.run()
    (folder / "tally").write_text(json.dumps(asdict(tally)), "utf-8")
