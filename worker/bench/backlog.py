"""`bench backlog`: the cost of many waiting jobs: the longest scripts, and the pick-up of a new session's job.

Each situation is measured without waiting jobs and then with N, on the same server and worker. SLOWLOG gives a script's
time, which is wall time: on a busy machine it includes time in which the server was not running.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice, repeat
from time import monotonic, perf_counter, sleep
from typing import Any

import redis

from worker.bench import runs
from worker.bench.one_frame import HOLD
from worker.bench.peers import MAKIMA, N_SLOTS
from worker.bench.runs import KEYS, BenchError, one_job, peer_process, percentiles, publish
from worker.stream import scripts as script
from worker.stream.keys import GROUP

SLOW_US = 500  # SLOWLOG's threshold
PAUSE_S = 0.005  # between two new sessions
PAGE = 500  # jobs that are written at a time
STALL_S = 60.0
N_FEW = 5000  # jobs for the rate without a backlog
SITUATIONS = ("one", "many", "full", "draining", "ready")


@dataclass(frozen=True, slots=True)
class Backlog:
    """The options of the measurement. seconds: with jobs waiting. sweep_every_s: None for the worker's default."""

    n_waiting: int = 300_000
    n_sessions: int = 50
    seconds: float = 50.0
    sweep_every_s: float | None = None
    only: str | None = None

    def __post_init__(self) -> None:
        if self.n_waiting < 1 or not 1 <= self.n_sessions < N_SLOTS or self.seconds <= 0:
            raise ValueError(f"--waiting must be at least 1, --sessions 1 to {N_SLOTS - 1}, and --seconds above 0")
        if self.only is not None and self.only not in SITUATIONS:
            raise ValueError(f"the situation {self.only!r} is unknown; use one of {', '.join(SITUATIONS)}")


def run(out: str, redis_url: str | None, **options: Any) -> int:
    """Measure and write the JSON to a file, or to stdout for "-". options: Backlog's."""
    try:
        backlog = Backlog(**options)
    except ValueError as error:
        print(f"makima-tts: {error}", file=sys.stderr)
        return 2
    return runs.run(out, redis_url, partial(measure, backlog))


def measure(backlog: Backlog, client: redis.Redis, url: str) -> dict[str, Any]:
    """Every situation. Raises BenchError."""
    names = SITUATIONS if backlog.only is None else (backlog.only,)
    measures: dict[str, Callable[[Backlog, redis.Redis], dict[str, Any]]] = {
        "one": partial(_waiting, n_sessions=1),
        "many": partial(_waiting, n_sessions=backlog.n_sessions),
        "full": _full,
        "draining": partial(_draining, put=_put_new),
        "ready": partial(_draining, put=_put_ready),
    }
    options = [] if backlog.sweep_every_s is None else ["--sweep-every", str(backlog.sweep_every_s)]
    situations = {}
    for name in names:
        client.flushdb()
        with peer_process(MAKIMA, url, *options):
            situations[name] = measures[name](backlog, client)
    longest = max(figures["longest_script_ms"] for figures in situations.values())
    return {
        "waiting": backlog.n_waiting,
        "seconds": backlog.seconds,
        "longest_script_ms": longest,
        "situations": situations,
    }


# Situations. Each returns its figures.


def _waiting(backlog: Backlog, client: redis.Redis, n_sessions: int) -> dict[str, Any]:
    """N jobs of few sessions wait behind each session's running job; slots are free for a new session."""
    names = [f"held-{n}" for n in range(n_sessions)]
    _hold(client, names)
    none = _pickups(client, "none", backlog.seconds / 2)
    with _Slow(client) as slow:
        began = perf_counter()
        publish(client, MAKIMA, islice(_cycle(names), backlog.n_waiting))
        _await(client, lambda: client.zcard(KEYS.job_plane[4]), backlog.n_waiting)
        taken_in_s = perf_counter() - began
        waiting = _pickups(client, "waiting", backlog.seconds)
    ratios = {
        f"pickup_{p}": round(waiting["pickup_ms"][p] / none["pickup_ms"][p], 2) for p in ("p50", "p99")
    }  # fmt: skip
    about = f"{backlog.n_waiting} jobs wait for their turn in {n_sessions} session(s); a job of a new session each time"
    return {"about": about, "none": none, "waiting": waiting, "ratios": ratios, "taken_in_s": round(taken_in_s, 1)} | (
        slow.figures
    )


def _full(backlog: Backlog, client: redis.Redis) -> dict[str, Any]:
    """N jobs of as many sessions wait while no slot is free."""
    _hold(client, [f"held-{n}" for n in range(N_SLOTS)])
    with _Slow(client) as slow:
        publish(client, MAKIMA, (f"queued-{n}" for n in range(backlog.n_waiting)))
        sleep(backlog.seconds)
    return {"about": f"{backlog.n_waiting} sessions wait for one of {N_SLOTS} slots, none of which is free"} | (
        slow.figures
    )


def _draining(backlog: Backlog, client: redis.Redis, put: Callable[[redis.Redis, int], None]) -> dict[str, Any]:
    """N jobs of as many sessions are settled as fast as possible, until the seconds are over."""
    n_few = min(N_FEW, backlog.n_waiting)
    publish(client, MAKIMA, (f"few-{n}" for n in range(n_few)))
    none = _rate(client, n_few, STALL_S)
    with _Slow(client) as slow:
        put(client, backlog.n_waiting)
        waiting = _rate(client, client.xlen(KEYS.jobs), backlog.seconds)
    return {
        "about": f"{backlog.n_waiting} sessions with a job each, {put.__doc__}; beside it {n_few} new ones",
        "none": {"settled_per_s": round(none, 1)},
        "waiting": {"settled_per_s": round(waiting, 1)},
        "ratios": {"settled_per_s": round(waiting / none, 2)},
    } | slow.figures


def _put_new(client: redis.Redis, n: int) -> None:
    """newly published"""
    publish(client, MAKIMA, (f"queued-{n}" for n in range(n)))


def _put_ready(client: redis.Redis, n: int) -> None:
    """given back by other workers, so that they lie in the list of those ready"""
    seconds, micros = client.time()
    ms = seconds * 1000 + micros // 1000
    _, ready, _, gates, _, attempts, *_ = KEYS.job_plane
    for first in range(0, n, PAGE):
        pipeline = client.pipeline(transaction=True)
        last = min(first + PAGE, n) - 1
        for number in range(first, last + 1):
            session_id, entry_id = f"queued-{number}", f"{ms}-{number}"
            pipeline.xadd(KEYS.jobs, {"session_id": session_id, "text": "Hello.", "ttl_ms": "300000"}, id=entry_id)
            pipeline.hset(gates, session_id, entry_id)
            pipeline.hset(attempts, entry_id, f"0 {ms}")
            pipeline.rpush(ready, entry_id)
        pipeline.xgroup_setid(KEYS.jobs, GROUP, f"{ms}-{last}")
        pipeline.set(KEYS.jobs.removesuffix("jobs") + "taken", f"{ms}-{last}")
        pipeline.xadd(KEYS.bell, {"ready": "1"}, maxlen=100)
        pipeline.execute()


# Parts.


def _cycle(names: list[str]) -> Iterator[str]:
    for chunk in repeat(names):
        yield from chunk


def _hold(client: redis.Redis, names: list[str]) -> None:
    """Publish one endless job for each session and wait until they run."""
    publish(client, MAKIMA, iter(names), HOLD)
    _await(client, lambda: int(client.xpending(KEYS.jobs, GROUP)["pending"]), len(names))


def _await(client: redis.Redis, count: Callable[[], int], wanted: int) -> None:
    """Wait until the count is reached. Raises BenchError when it stops rising."""
    most, moved_at = -1, monotonic()
    while (now := count()) < wanted:
        if now > most:
            most, moved_at = now, monotonic()
        elif monotonic() - moved_at > STALL_S:
            raise BenchError(f"{MAKIMA} took {now} of {wanted} jobs and no more within {STALL_S:.0f} s")
        sleep(0.02)


def _pickups(client: redis.Redis, name: str, seconds: float) -> dict[str, Any]:
    """The pick-up times of one new session after another."""
    for n in range(20):
        one_job(client, MAKIMA, f"{name}-warm-{n}")
    taken: list[float] = []
    until = monotonic() + seconds
    while monotonic() < until or not taken:
        taken.append(one_job(client, MAKIMA, f"{name}-{len(taken)}")[0])
        sleep(PAUSE_S)
    return {"pickup_ms": percentiles(taken), "longest_ms": round(max(taken) * 1000, 1), "samples": len(taken)}


def _rate(client: redis.Redis, n_jobs: int, seconds: float) -> float:
    """Jobs settled a second, until none is left or the seconds are over. Raises BenchError when none is settled."""
    began = perf_counter()
    while (left := client.xlen(KEYS.jobs)) and perf_counter() - began < seconds:
        sleep(0.005)
    if left == n_jobs:
        raise BenchError(f"{MAKIMA} settled none of {n_jobs} jobs within {seconds:.0f} s")
    return float(n_jobs - left) / (perf_counter() - began)


_WATCHING = {"slowlog-log-slower-than": SLOW_US, "slowlog-max-len": 100_000, "latency-monitor-threshold": 1}


class _Slow:
    """Records SLOWLOG and the latency monitor while the context is open. figures: set when it closes."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._set_before: dict[Any, Any] = {}
        self.figures: dict[str, Any] = {}

    def __enter__(self) -> _Slow:
        for name, value in _WATCHING.items():
            self._set_before |= self._client.config_get(name)
            self._client.config_set(name, value)
        self._client.slowlog_reset()
        self._client.latency_reset()
        return self

    def __exit__(self, *_: object) -> None:
        names = {known.sha: known.name.upper() for known in vars(script).values() if isinstance(known, script.Script)}
        scripts: dict[str, list[float]] = {}
        commands: dict[str, list[float]] = {}
        for entry in self._client.slowlog_get(100_000):
            command, word = [*entry["command"].decode("utf-8", "replace").split(" ", 2), ""][:2]
            if command.upper() in ("EVALSHA", "EVAL"):  # EVAL is the first call of each
                scripts.setdefault(names.get(word, command.upper()), []).append(entry["duration"] / 1000)
            else:
                commands.setdefault(command.upper(), []).append(entry["duration"] / 1000)
        latest: Any = self._client.latency_latest()
        self.figures = {
            "longest_script_ms": max((ms for of_one in scripts.values() for ms in of_one), default=SLOW_US / 1000),
            "scripts": {name: _of(ms) for name, ms in sorted(scripts.items())},
            "other_commands": {name: _of(ms) for name, ms in sorted(commands.items())},
            "latency_ms": {event[0].decode(): event[3] for event in latest},
        }
        for name, value in self._set_before.items():
            self._client.config_set(name, value)


def _of(ms: list[float]) -> dict[str, Any]:
    """The figures of one script or command, from SLOWLOG's entries: those of 0.5 ms and more."""
    return {
        "longest_ms": [round(one, 2) for one in sorted(ms, reverse=True)[:3]],
        "above_5_ms": sum(one > 5 for one in ms),
        "above_20_ms": sum(one > 20 for one in ms),
    }
