"""One run from its set-up to its findings."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chaos.check import Aftermath, check, check_left_behind, read_letters
from tests.chaos.clock import Clock
from tests.chaos.evidence import takeovers_ms
from tests.chaos.faults import Faults
from tests.chaos.fleet import Fleet, Member, qwen_flags
from tests.chaos.follower import Follower
from tests.chaos.ledger import Excepted, Ledger
from tests.chaos.load import Load
from tests.chaos.nursery import Nursery
from tests.chaos.plan import AHEAD_MS, TEXT_WAIT_S, schedule
from tests.chaos.recorder import Heard, Recorder
from tests.chaos.scribe import lost_pieces
from tests.chaos.setups import Setup, open_setup
from tests.chaos.strangers import Tomorrow
from tests.chaos.table import Run
from tests.chaos.undisturbed import Expected, Preview, Qwen
from tests.processes import until
from worker.stream.keys import Keys

N_WORKERS = 4
DRAINED_WITHIN_S = 100.0  # sweeps come every 15 to 45 s
NAIVE_WITHIN_S = 5.0  # what a fleet without fencing has lost never drains
QWEN_DTYPE = "float32"
CHECKPOINT_SEED, EOS_BOOST = 32, 4.0  # whose utterances last six seconds on average
UNDISTURBED_LEASE_MS = 60_000  # nobody dies there, however busy the machine is

Raw = tuple[bytes, dict[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Cast:
    """How an engine takes part. depth: jobs kept unsettled, so that every worker is speaking when something breaks."""

    flags: tuple[str, ...]
    depth: int


TEXTS = ("--text-wait-s", f"{TEXT_WAIT_S:g}", "--ahead-ms", str(AHEAD_MS))
CASTS = {
    "preview": Cast(("--slots", "8", "--pace", "3", *TEXTS), depth=28),
    "qwen": Cast(("--slots", "6", *TEXTS), depth=18),
}


@dataclass(frozen=True, slots=True)
class Order:
    """What run is wanted. is_naive: its workers heed no fence. has_damage: what Redis holds is damaged too."""

    seed: int
    minutes: float
    setup: str
    engine: str
    is_naive: bool = False
    has_damage: bool = True

    def draw(self, what: str) -> random.Random:
        """Each part draws for itself, so that no part's timing changes what another one does."""
        return random.Random(f"{self.seed} {what}")


@dataclass(frozen=True, slots=True)
class Outcome:
    """recorded: every session as it was heard. read: as it stands in Redis in the end. faults: what was done when, in
    monotonic seconds.
    """

    run: Run
    recorded: dict[str, list[Heard]]
    read: dict[str, list[Raw]]
    faults: list[tuple[float, str]]


def drive(order: Order, folder: Path) -> Outcome:
    """Break things, let everything settle, and read what came of it. folder: for logs and everything else."""
    began_s = time.monotonic()
    cast = CASTS[order.engine]
    with ExitStack() as stack:
        nursery = stack.enter_context(Nursery(order.engine, order.is_naive))
        setup = stack.enter_context(open_setup(order.setup, folder / "redis"))
        flags = qwen_flags(folder, CHECKPOINT_SEED, QWEN_DTYPE, EOS_BOOST) if order.engine == "qwen" else []
        client = stack.enter_context(setup.client())
        with Fleet(nursery, setup.url, N_WORKERS, folder, [*flags, *cast.flags]) as fleet:
            recorder = stack.enter_context(Recorder(stack.enter_context(setup.client())))
            follower = stack.enter_context(Follower(setup.client()))
            with Load(setup, recorder, order.draw("load"), cast.depth, follower) as load:
                faults = Faults(setup, fleet, order.draw("faults"), load)
                with _tomorrow(order, setup, load):
                    faults.run(schedule(order.draw("plan"), order.minutes, _offers(order, setup)))
            _until_drained(client, NAIVE_WITHIN_S if order.is_naive else DRAINED_WITHIN_S)
            crew = _end_of(fleet)
            fallen = [f"{member.log.name}: {_last_line(member)}" for member in fleet.fallen]
        ledger = load.ledger
        read = {session_id: _read(client, session_id) for session_id in ledger.by_session()}
        misheard = [] if setup.writes_may_be_lost else _misheard(recorder, read, ledger) + _missed(follower, read)
        _except_texts(client, ledger, setup.writes_may_be_lost)
        aftermath = Aftermath(read_letters(client, Keys()), recorder.heard)
        with _expected(order, folder) as expected:
            findings = check(ledger, read.__getitem__, expected, aftermath)
        findings.broken += crew + misheard
        findings.workers_ended_by_themselves += fallen
        left_behind = check_left_behind(client, Keys(), ledger.planted)
    run = Run(
        order.setup, order.engine, order.seed, time.monotonic() - began_s, ledger, findings, left_behind,
        takeovers_ms(recorder.heard.values()), order.has_damage, _skipped(order, setup), follower.counts,
    )  # fmt: skip
    return Outcome(run, recorder.heard, read, faults.log)


def _offers(order: Order, setup: Setup) -> set[str]:
    offers = {"proxy": setup.proxy is not None, "damage": order.has_damage, "clock": isinstance(setup.clock, Clock)}
    return {name for name, is_there in offers.items() if is_there}


def _skipped(order: Order, setup: Setup) -> list[str]:
    """Kinds of damage that this set-up has no means for."""
    if not order.has_damage:
        return []
    said = [f"no clock is set, for {setup.clock}"] if isinstance(setup.clock, str) else []
    return said + (["no latency and no balancer, for there is no proxy"] if setup.proxy is None else [])


@contextmanager
def _tomorrow(order: Order, setup: Setup, load: Load) -> Iterator[None]:
    """A worker of another release beside the others, where there is damage."""
    if order.has_damage:
        with Tomorrow(setup.client(), order.draw("tomorrow"), load.ledger.faults):
            yield
    else:
        yield


def _last_line(member: Member) -> str:
    return (member.log.read_text(errors="replace").strip().splitlines() or ["it said nothing"])[-1][:300]


def _until_drained(client: Any, within_s: float) -> None:
    """Until no job is unsettled; what still is after a while is found to be left behind."""
    end_s = time.monotonic() + within_s
    while client.xlen(Keys().jobs) and time.monotonic() < end_s:
        time.sleep(0.1)


def _end_of(fleet: Fleet) -> list[str]:
    """Drain it; a sentence for each worker that did not end as it should."""
    members = list(fleet.members)
    with ThreadPoolExecutor() as pool:
        statuses = list(pool.map(fleet.drain, members))
    ended = zip(members, statuses, strict=True)
    hurt = [f"a worker ended its drain with {status}: {member.log.name}" for member, status in ended if status]
    logs = sorted(fleet.folder.glob("*.log"))
    return hurt + [f"a traceback in {log.name}" for log in logs if "Traceback" in log.read_text()]


def _read(client: Any, session_id: str) -> list[Raw]:
    return list(client.xrange(Keys().audio(session_id)))


def _misheard(recorder: Recorder, read: dict[str, list[Raw]], ledger: Ledger) -> list[str]:
    """A sentence for each session that was heard otherwise than its stream stands in the end.

    The streams of those who left have expired: what was heard of them stands for them from now on. Of a stream that the
    driver replaced only the last one stands.
    """
    until(lambda: all(len(recorder.heard[session_id]) >= len(entries) for session_id, entries in read.items()))
    heard = {
        session_id: [(stream_id, fields) for stream_id, fields, _ in recorder.heard[session_id]] for session_id in read
    }
    read |= {session_id: heard[session_id] for session_id in ledger.left}
    for session_id in ledger.replaced:
        heard[session_id] = heard[session_id][len(heard[session_id]) - len(read[session_id]) :]
    return [
        f"{session_id}: was heard otherwise than it stands"
        for session_id in read
        if heard[session_id] != read[session_id]
    ]


def _missed(follower: Follower, read: Mapping[str, list[Raw]]) -> list[str]:
    """A sentence for each session of which a relay with hints received something else."""
    heard = {session_id: entries for session_id, entries in follower.heard.items() if session_id in read}
    until(lambda: all(len(entries) >= len(read[session_id]) for session_id, entries in heard.items()))
    wrong = [session_id for session_id, entries in heard.items() if entries != read[session_id]]
    return [f"{session_id}: was received otherwise by hints than it stands" for session_id in wrong]


def _except_texts(client: Any, ledger: Ledger, may_be_lost: bool) -> None:
    """Texts of which a fail-over lost pieces; jobs that were published again after their text had perhaps stalled."""
    for job in list(ledger.jobs):
        if job.writing is None:
            continue
        if may_be_lost and lost_pieces(client, Keys().text(job.session_id, job.job_id), job.writing):
            ledger.let_fail(job.job_id, Excepted("a fail-over lost pieces of its text", is_spoilt=True))
        elif job.n_sent > 1 and job.writing.may_stall(TEXT_WAIT_S):
            ledger.let_fail(job.job_id, Excepted("its text may have stalled before it was sent again", is_spoilt=True))


@contextmanager
def _expected(order: Order, folder: Path) -> Iterator[Expected]:
    if order.engine == "preview":
        with Preview(lease_ms=UNDISTURBED_LEASE_MS) as preview:
            yield preview
    else:
        import torch

        torch.set_num_threads(1)  # as the workers have it
        yield Qwen.load(folder / "tiny", QWEN_DTYPE, folder / "voices", folder / "prompts")
