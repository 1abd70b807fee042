"""The worker processes of a run: start, kill, stop past their lease, resume, drain."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.nursery import REPOSITORY, Nursery
from tests.recordings import babble, replace_recording
from tests.shell import PREVIEW_VOICES

READY_WITHIN_S = 60.0
DRAINED_WITHIN_S = 40.0


@dataclass(slots=True, eq=False)
class Member:
    """One worker process."""

    pid: int
    log: Path
    is_stopped: bool = False
    was_ready: bool = False

    @property
    def name_prefix(self) -> str:
        """What its worker name begins with."""
        return f"{socket.gethostname()}:{self.pid}:"


class Fleet:
    """`size` ready workers when entered; none when left.

    url: the Redis they are given. folder: for their logs, one each. flags: more words for `makima-tts worker`, over
    those that every fleet has. fallen: members that ended without being told to, which nothing in a run excuses.
    """

    def __init__(self, nursery: Nursery, url: str, size: int, folder: Path, flags: Sequence[str] = ()) -> None:
        self._nursery = nursery
        self._words = ["worker", "--redis-url", url, "--engine", nursery.engine, "--voice", "placeholder"]
        self._words += ["--preview-voices", PREVIEW_VOICES, *flags]
        self._size = size
        self.folder = folder
        self._n_started = self._n_replaced = 0
        self.members: list[Member] = []
        self.fallen: list[Member] = []

    def __enter__(self) -> Fleet:
        try:
            for member in [self.start() for _ in range(self._size)]:
                self.until_ready(member)
        except BaseException:
            self._kill_all()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._kill_all()

    def start(self) -> Member:
        """Fork one more worker; it becomes ready in its own time."""
        self._n_started += 1
        log = self.folder / f"worker-{self._n_started}.log"
        member = Member(self._nursery.fork(self._words, log), log)
        self.members.append(member)
        return member

    def until_ready(self, member: Member, within_s: float = READY_WITHIN_S) -> None:
        """Return when it takes jobs. Raises RuntimeError with its log when it does not in time."""
        end_s = time.monotonic() + within_s
        while not self.is_ready(member):
            if (status := self._nursery.ended(member.pid)) is not None:
                raise RuntimeError(f"a worker ended with {status} before it was ready:\n{member.log.read_text()}")
            if time.monotonic() > end_s:
                raise RuntimeError(f"a worker was not ready within {within_s} s:\n{member.log.read_text()}")
            time.sleep(0.01)

    def is_ready(self, member: Member) -> bool:
        """True since it first could take jobs."""
        if not member.was_ready:
            member.was_ready = member.log.exists() and " ready; voices: " in member.log.read_text()
        return member.was_ready

    def is_alive(self, member: Member) -> bool:
        """False once it has ended, by whatever."""
        return self._nursery.ended(member.pid) is None

    def kill(self, member: Member) -> float:
        """End it by SIGKILL, also a stopped one; returns the monotonic seconds just before, when it has been reaped."""
        at_s = time.monotonic()
        self.members.remove(member)
        if not self._nursery.send(member.pid, signal.SIGKILL):
            self.fallen.append(member)
        return at_s

    def stop(self, member: Member) -> None:
        """Freeze it with everything it holds."""
        self._nursery.send(member.pid, signal.SIGSTOP)
        member.is_stopped = True

    def resume(self, member: Member) -> None:
        self._nursery.send(member.pid, signal.SIGCONT)
        member.is_stopped = False

    def drain(self, member: Member, within_s: float = DRAINED_WITHIN_S) -> int:
        """End it by SIGTERM, resumed first if it was stopped; returns its exit status, that of SIGKILL when it hung."""
        if member.is_stopped:
            self.resume(member)
        self.members.remove(member)
        if not self._nursery.send(member.pid, signal.SIGTERM):
            self.fallen.append(member)
        end_s = time.monotonic() + within_s
        while (status := self._nursery.ended(member.pid)) is None:
            if time.monotonic() > end_s:
                self._nursery.send(member.pid, signal.SIGKILL)
            time.sleep(0.01)
        return status

    def find_fallen(self) -> None:
        """Move the members that ended by themselves to `fallen`."""
        for member in [member for member in self.members if not self.is_alive(member)]:
            self.members.remove(member)
            self.fallen.append(member)

    def replace_fallen(self) -> int:
        """As a supervisor does: start one for each that has ended by itself since. Returns how many."""
        self.find_fallen()
        n_new, self._n_replaced = len(self.fallen) - self._n_replaced, len(self.fallen)
        for _ in range(n_new):
            self.start()
        return n_new

    def _kill_all(self) -> None:
        for member in list(self.members):
            self.kill(member)


def qwen_flags(folder: Path, seed: int = 0, dtype: str = "auto", eos_boost: float = 0.0) -> list[str]:
    """Make a tiny checkpoint and a voice with sound in its recording; returns the flags of a fleet that speaks it.

    seed, eos_boost: of the checkpoint; without the latter no segment ends before its budget.
    """
    model, voices = folder / "tiny", folder / "voices"
    making = [sys.executable, "-m", "benchmarks.checkpoint", "tiny", str(model)]
    making += ["--seed", str(seed), "--eos-boost", str(eos_boost)]
    subprocess.run(making, cwd=REPOSITORY, check=True, capture_output=True)
    shutil.copytree(REPOSITORY / "voices" / "placeholder", voices / "placeholder")
    replace_recording(voices / "placeholder", babble(4.0))
    places = ["--model", str(model), "--voices-dir", str(voices), "--cache-dir", str(folder / "prompts")]
    return [*places, "--device", "cpu", "--dtype", dtype]
