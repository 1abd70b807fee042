"""Latency, cost and memory of the relays: `python -m benchmarks.relay`, JSON on stdout; needs cargo.

Starts an embedded Valkey, one relay after the other and schemas/rust/benches/sockets, which holds the clients, a
scripted worker in real time and readers without a relay. The benchmark fails where one byte is wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import redis

from benchmarks.relays import READING, RELAYS, built, relay
from worker.embedded import embedded_valkey

OWN_NAME = "bench"
IDLE_S = 5.0
PRIORITY = 5
WAITED_AT = ("ready", "spoken")  # the sockets wait for a line there
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Load:
    """What the sockets speak: `utterances` one after the other, of `chunks` chunks each.

    direct: so many streams are also read without the relay.
    """

    sockets: int
    utterances: int
    chunks: int
    chunk_ms: int
    direct: int = 0
    binary: bool = False
    hints: bool = True


LOADS = {
    "1": Load(1, 30, 10, 80, direct=1),
    "50": Load(50, 8, 25, 80, direct=50),
    "1000": Load(1000, 1, 44, 480, direct=20),
    "1000-binary": Load(1000, 1, 44, 480, direct=20, binary=True),
    "1000-without-hints": Load(1000, 1, 44, 480, direct=20, hints=False),
}


@dataclass(frozen=True, slots=True)
class Sample:
    """CPU seconds used until now; `machine` by all processes."""

    at_s: float
    relay_s: float
    redis_s: float
    bench_s: float
    machine_s: float

    def percent_since(self, before: Sample) -> dict[str, float]:
        """Of one core. `others`: by what does not belong to this benchmark."""
        names = ("relay", "redis", "bench")
        used = {name: getattr(self, f"{name}_s") - getattr(before, f"{name}_s") for name in names}
        used["others"] = self.machine_s - before.machine_s - sum(used.values())
        return {name: round(100 * seconds / (self.at_s - before.at_s), 1) for name, seconds in used.items()}


class Meter:
    """Memory, CPU time and connections of one trial, by its phases. found: what was measured."""

    def __init__(self, client: redis.Redis, relay_pid: int, n_sockets: int) -> None:
        self.bench_pid = 0
        self.found: dict[str, Any] = {}
        self._client = client
        self._relay_pid = relay_pid
        self._n_sockets = n_sockets
        self._empty_bytes = _resident_bytes(relay_pid)

    def reached(self, phase: str) -> None:
        """`ready`: all sockets are idle. `speaking` until `ending`: all speak. `spoken`: all are answered."""
        match phase:
            case "ready":
                self._measure("idle")
                before = self._sample()
                time.sleep(IDLE_S)
                self.found["idle_percent"] = self._sample().percent_since(before)
            case "speaking":
                self._measure(phase)
                self._speaking = self._sample()
            case "ending":
                self.found["speaking_percent"] = self._sample().percent_since(self._speaking)
            case "spoken":
                self._measure("afterwards")

    def _measure(self, name: str) -> None:
        used_kb = (_resident_bytes(self._relay_pid) - self._empty_bytes) / 1000
        self.found[f"{name}_kb_a_socket"] = round(used_kb / self._n_sockets, 1)
        connections = self._client.client_list()
        self.found[f"{name}_connections"] = sum(it["name"] != OWN_NAME for it in connections)

    def _sample(self) -> Sample:
        cpu = self._client.info("cpu")
        redis_s = float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"])
        return Sample(time.monotonic(), _cpu_s(self._relay_pid), redis_s, _cpu_s(self.bench_pid), _machine_s())


def measure(command: list[str], program: str, name: str, reading: str, load: Load) -> dict[str, Any]:
    """One trial on a Valkey of its own."""
    own_connections = load.sockets if reading == "own" else 0
    with (
        embedded_valkey() as server,
        redis.Redis.from_url(server.url, protocol=2, client_name=OWN_NAME) as client,
        relay(command, server.url, own_connections) as (process, address),
    ):
        if os.sched_getscheduler(0) == os.SCHED_RR:  # as on a core of its own
            os.sched_setscheduler(server.pid, os.SCHED_RR, os.sched_param(PRIORITY + 1))
        meter = Meter(client, process.pid, load.sockets)
        options = json.dumps({"redis": server.url, "relay": address, **asdict(load)})
        return {"relay": name, "reading": reading, **asdict(load)} | _run([program, options], meter)


def _run(command: list[str], meter: Meter) -> dict[str, Any]:
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as bench:  # noqa: S603
        assert bench.stdin is not None
        assert bench.stdout is not None
        meter.bench_pid = bench.pid
        for message in map(json.loads, bench.stdout):
            if (phase := message.get("phase")) is None:
                return meter.found | message
            meter.reached(phase)
            if phase in WAITED_AT:
                bench.stdin.write("\n")
                bench.stdin.flush()
    raise SystemExit("the sockets' program failed; its error is above")


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def _machine_s() -> float:
    user, nice, system, _, _, *interrupts = map(int, Path("/proc/stat").read_text("utf-8").split("\n")[0].split()[1:])
    return (user + nice + system + sum(interrupts[:2])) / TICKS_PER_S


def _resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text("utf-8").split()[1]) * PAGE


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.relay", description=__doc__)
    parser.add_argument("--relays", default=",".join(RELAYS))
    parser.add_argument("--reading", default=",".join(READING), help="own: a connection a socket. hints: few.")
    parser.add_argument("--loads", default=",".join(LOADS))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--real-time", action="store_true", help="Run by SCHED_RR, ahead of other programs.")
    options = parser.parse_args()
    names = options.relays.split(",")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    program, commands = built(names)
    load_before, _, _ = os.getloadavg()
    if options.real_time:  # inherited by all processes
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(PRIORITY))
    trials = [
        measure(commands[name], program, name, reading, LOADS[load])
        for load in options.loads.split(",")
        for _ in range(options.rounds)
        for name in names
        for reading in options.reading.split(",")
    ]
    print(json.dumps({"load": load_before, "trials": trials}, indent=2))


if __name__ == "__main__":
    main()
