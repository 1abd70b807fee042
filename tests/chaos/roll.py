"""Rolling restart: every worker is replaced, one after another, and no session may notice.

Each session has the next job published before the one it hears has ended. A worker is ended by SIGTERM, awaited, and
replaced by a new one before the next is ended. With a grace period shorter than an utterance it gives back what it has
not finished, in mid-word, and another goes on at once.

    python -m tests.chaos.roll --engine preview --sessions 50 --grace-s 20 0.2
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.scene import Cast, Scene, scene
from tests.chaos.timed import Timed

N_WORKERS = 3
SESSIONS = {"preview": 50, "qwen": 4}
SHORT_GRACE_S = 1.0  # no utterance ends within it in all sessions
SETTLE_S = 2.0  # between two restarts: utterances of every age


@dataclass(frozen=True, slots=True)
class Rolled:
    """What a rolling restart did to the sessions. longest: the utterance with the longest pause between two entries."""

    n_utterances: int
    n_given_back: int
    longest: Timed
    took_s: float
    violations: Sequence[str]


def roll(this: Scene) -> list[str]:
    """Replace every worker there is; returns what went wrong with their ends."""
    wrong = []
    for member in list(this.fleet.members):
        time.sleep(SETTLE_S)
        if (status := this.fleet.drain(member, this.cast.grace_s + 20)) != 0:
            wrong.append(f"a drained worker ended with {status}: {member.log.read_text()}")
        this.fleet.until_ready(this.fleet.start())
    return wrong


def noticed(utterances: Iterable[Timed], lease_ms: int) -> list[str]:
    """A sentence for each utterance that lost an attempt or paused for more than the lease."""
    found = []
    for one in utterances:
        name = f"{one.session_id} {one.entry_id}"
        if set(one.attempts) - {1}:
            found.append(f"{name}: its attempts were {one.attempts}, and a release does not count")
        if one.longest_pause_s * 1000 > lease_ms:
            found.append(f"{name}: paused for {one.longest_pause_s * 1000:.0f} ms, and the lease is {lease_ms}")
    return found


def run(cast: Cast, folder: Path) -> Rolled:
    began_s = time.monotonic()
    with scene(cast, folder) as this:
        wrong = roll(this)
        wrong += this.finish()
        utterances = list(this.utterances().values())
    n_given_back = sum(len(one.attempts) > 1 for one in utterances)
    if cast.grace_s < SHORT_GRACE_S and not n_given_back:
        wrong.append("no utterance was given back, so nothing was shown")
    return Rolled(
        n_utterances=len(utterances),
        n_given_back=n_given_back,
        longest=max(utterances, key=lambda one: one.longest_pause_s),
        took_s=time.monotonic() - began_s,
        violations=[*wrong, *noticed(utterances, cast.lease_ms)],
    )


def told(cast: Cast, rolled: Rolled) -> str:
    longest = rolled.longest
    rows = {
        "engine": cast.engine,
        "seed": cast.seed,
        "sessions": cast.n_sessions,
        "workers replaced": cast.n_workers,
        "grace period": f"{cast.grace_s:g} s",
        "utterances": rolled.n_utterances,
        "given back": rolled.n_given_back,
        "longest pause": f"{longest.longest_pause_s * 1000:.0f} ms, in {longest.session_id} (lease {cast.lease_ms} ms)",
        "duration": f"{rolled.took_s:.0f} s",
    }
    lines = [f"{name:<18}{value}" for name, value in rows.items()]
    return "\n".join([*lines, *(rolled.violations or ["nothing is wrong"]), ""])


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.roll", description="Replace workers under load.")
    parser.add_argument("--engine", choices=("preview", "qwen"), default="preview")
    parser.add_argument("--sessions", type=int, help=f"by default {SESSIONS}")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--lease-ms", type=int, default=2000)
    parser.add_argument("--pace", type=float, default=1.1, help="of the preview engine")
    parser.add_argument("--grace-s", type=float, nargs="+", default=[20.0, 0.2], help="one rolling restart with each")
    given = parser.parse_args(words)
    n_violations = 0
    for grace_s in given.grace_s:
        cast = Cast(
            engine=given.engine,
            n_workers=N_WORKERS,
            n_sessions=given.sessions or SESSIONS[given.engine],
            depth=2,
            seed=given.seed,
            lease_ms=given.lease_ms,
            pace=given.pace,
            grace_s=grace_s,
        )
        with tempfile.TemporaryDirectory(prefix="makima-tts-roll-") as folder:
            rolled = run(cast, Path(folder))
        print(told(cast, rolled), flush=True)
        n_violations += len(rolled.violations)
    return 1 if n_violations else 0


if __name__ == "__main__":
    sys.exit(main())
