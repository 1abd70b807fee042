"""Measures how long a listener waits after its worker was killed, and whether its player runs dry.

Redis is well. Of several workers, one that speaks is killed (-9) at a moment worth trying; others are ready, and a new
one is before the next is killed. What a take-over took is the time from the kill to the arrival of the first chunk that
another worker wrote.

    python -m tests.chaos.takeover --engine preview --n 20 --seed 1 --lease-ms 2000 --json figures.json
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.chaos.killing import MOMENTS, Kill, kill_speakers
from tests.chaos.scene import Cast, scene
from tests.chaos.table import percentile
from tests.chaos.timed import Timed

SESSIONS = {"preview": 6, "qwen": 2}


@dataclass(frozen=True, slots=True)
class TakeOver:
    """One utterance of a worker that was killed. segment: of its last chunk before. ahead_ms: audio that its listener
    had and had not played at the kill. silent_ms: what it missed from then on, until its worker is killed again.
    """

    session_id: str
    entry_id: str
    moment: str
    segment: int
    took_ms: float
    ahead_ms: float
    silent_ms: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run. wrong: a sentence for everything that was heard and breaks the contract."""

    cast: Cast
    kills: Sequence[Kill]
    take_overs: Sequence[TakeOver]
    wrong: Sequence[str]


def run(cast: Cast, n_kills: int, folder: Path) -> Outcome:
    with scene(cast, folder) as this:
        kills = kill_speakers(this, n_kills)
        wrong = this.finish()
        take_overs = measure_all(kills, this.utterances())
    if not take_overs:
        wrong.append("no utterance was taken over, so nothing was measured")
    return Outcome(cast, kills, take_overs, wrong)


def measure_all(kills: Sequence[Kill], utterances: Mapping[str, Timed]) -> list[TakeOver]:
    """utterances: by entry id."""
    found = []
    for n, kill in enumerate(kills):
        for held in kill.held:
            again_s = min((later.at_s for later in kills[n + 1 :] if held in later.held), default=math.inf)
            if held[1] in utterances:
                found.append(measure(kill, utterances[held[1]], again_s))
    return [one for one in found if one is not None]


def measure(kill: Kill, utterance: Timed, until_s: float = math.inf) -> TakeOver | None:
    """None where nothing was left to take over but the end, or where nobody went on."""
    first = utterance.first_of_a_newer_epoch(kill.at_ms)
    if first is None or utterance.was_spoken_whole(kill.at_ms):
        return None
    before = [chunk.segment for chunk in utterance.chunks if chunk.epoch_ms <= kill.at_ms]
    playback = utterance.played()
    return TakeOver(
        session_id=utterance.session_id,
        entry_id=utterance.entry_id,
        moment=kill.moment,
        segment=before[-1] if before else 0,
        took_ms=(first.at_s - kill.at_s) * 1000,
        ahead_ms=playback.ahead_s(kill.at_s) * 1000,
        silent_ms=playback.missing_s(kill.at_s, until_s) * 1000,
    )


def bound_ms_of(lease_ms: int) -> float:
    return 1.5 * lease_ms + 500


def too_much(take_overs: Sequence[TakeOver], lease_ms: int) -> list[str]:
    """A sentence for each take-over above its bound, and for each that was heard and should not have been."""
    found = []
    for one in take_overs:
        name = f"{one.session_id} {one.entry_id}, killed {one.moment}:"
        if one.took_ms > (bound_ms := bound_ms_of(lease_ms)):
            found.append(f"{name} taken over after {one.took_ms:.0f} ms, and the bound is {bound_ms:.0f}")
        if one.ahead_ms >= lease_ms and one.silent_ms:
            found.append(f"{name} silent for {one.silent_ms:.0f} ms, though {one.ahead_ms:.0f} ms lay ahead")
    return found


def figures(outcome: Outcome) -> dict[str, Any]:
    """Fit for JSON."""
    lease_ms, take_overs = outcome.cast.lease_ms, outcome.take_overs
    rows = {moment: [one for one in take_overs if one.moment == moment] for moment in MOMENTS}
    return {
        **asdict(outcome.cast),
        "kills": len(outcome.kills),
        "bound_ms": bound_ms_of(lease_ms),
        "rows": {name: _row(found, lease_ms) for name, found in {**rows, "all": take_overs}.items()},
        "violations": [*outcome.wrong, *too_much(take_overs, lease_ms)],
        "take_overs": [asdict(one) for one in take_overs],
    }


def _row(take_overs: Sequence[TakeOver], lease_ms: int) -> dict[str, int | None]:
    """a lease ahead: how many listeners had at least that much to play at the kill; heard: how many of all, and of
    those, heard a silence.
    """
    took_ms = [one.took_ms for one in take_overs]
    safe = [one for one in take_overs if one.ahead_ms >= lease_ms]
    return {
        "n": len(take_overs),
        "p50 ms": percentile(took_ms, 0.50),
        "p95 ms": percentile(took_ms, 0.95),
        "max ms": percentile(took_ms, 1.0),
        "heard": sum(one.silent_ms > 0 for one in take_overs),
        "a lease ahead": len(safe),
        "of those heard": sum(one.silent_ms > 0 for one in safe),
    }


def told(found: Mapping[str, Any]) -> str:
    """The figures as a table, and the violations."""
    lease = f"lease {found['lease_ms']} ms, bound {found['bound_ms']:.0f} ms"
    lines = [f"{found['engine']}, seed {found['seed']}, {found['kills']} kills, {lease}"]
    lines.append(_line("", list(found["rows"]["all"])))
    lines += [_line(name, list(row.values())) for name, row in found["rows"].items()]
    return "\n".join([*lines, *(found["violations"] or ["nothing is wrong"])])


def _line(name: str, values: Sequence[object]) -> str:
    return f"{name:<20}" + "".join(f"{'-' if value is None else value!s:>15}" for value in values)


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.takeover", description="Kill workers that speak.")
    parser.add_argument("--engine", choices=("preview", "qwen"), default="preview")
    parser.add_argument("--n", type=int, default=20, help="kills")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--lease-ms", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--sessions", type=int, help=f"by default {SESSIONS}")
    parser.add_argument("--pace", type=float, default=2.0, help="of the preview engine, in times real time")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    given = parser.parse_args(words)
    cast = Cast(
        engine=given.engine,
        n_workers=given.workers,
        n_sessions=given.sessions or SESSIONS[given.engine],
        depth=1,
        seed=given.seed,
        lease_ms=given.lease_ms,
        pace=given.pace,
    )
    with tempfile.TemporaryDirectory(prefix="makima-tts-takeover-") as folder:
        found = figures(run(cast, given.n, Path(folder)))
    if given.json is not None:
        given.json.write_text(json.dumps(found, indent=1) + "\n")
    print(told(found))
    return 1 if found["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
