"""The worker service: startup, jobs from `worker.intake`, drain, shutdown. Each job runs as one `Utterance`."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic
from typing import Any

from schemas.jobs import MAX_UTF8_BYTES_PER_CHAR
from worker.connections import Connections
from worker.engine.base import Engine, EngineSick
from worker.engine.thread import EngineThread
from worker.host import host_name
from worker.intake import Intake, Slots
from worker.liveness import TICK, Liveness
from worker.observe.metrics import Metrics
from worker.observe.tracing.off import Tracing
from worker.settings import Settings
from worker.stream.depths import read_depths
from worker.stream.heartbeat import BeatingWorker, Heartbeat
from worker.stream.integrity.damage_log import DamageLog
from worker.stream.keys import Keys
from worker.stream.lease import Lease
from worker.stream.masters import MasterCheck
from worker.stream.queue import Doorbell, JobQueue
from worker.stream.transport.retry import PASSING, RedisError, Refusal
from worker.stream.watch import SessionWatch
from worker.utterance.admission import Admission
from worker.utterance.context import WorkerContext
from worker.utterance.utterance import Utterance
from worker.voices.registry import Registry
from worker.voices.reload import VoiceReload

log = logging.getLogger(__name__)

DEPTHS_EVERY_S = 5.0
LAST_COMMAND_S = 5.0  # for each last command at shutdown, since Redis may be unreachable
COUNT_AGAIN_S = 0.05  # after which jobs that rest are counted again
MOST_RESTING = 8  # jobs a slot that rest: they wait for text, or are far ahead of their listeners
SICK_GRACE_S = 0.3  # for each step of the shutdown of a worker with a sick engine


class Worker:
    """The service of one worker process, and its HealthSource. `run` returns when it has drained after `stop`."""

    def __init__(
        self, settings: Settings, engine: Engine, metrics: Metrics | None = None, tracing: Tracing | None = None
    ) -> None:
        self.name = f"{host_name()}:{os.getpid()}:{secrets.token_hex(4)}"
        self.metrics = metrics or Metrics()
        self._tracing = tracing or Tracing()
        self._settings = settings
        self._lease_s = settings.lease_ms / 1000
        registry = Registry.load(settings.voices_dir)
        registry.get(settings.default_voice)  # fail at start if the default voice is unknown
        self._engine = EngineThread(engine, self.metrics.stepped)
        self._voices = VoiceReload(registry, self._engine.use)
        self._n_slots = engine.n_slots
        self._running: dict[Lease, tuple[Utterance, asyncio.Task[None]]] = {}
        self._n_resting, self._counted_at = 0, -math.inf
        self._loop: asyncio.AbstractEventLoop | None = None
        self._draining = asyncio.Event()
        self._is_warm = False
        self._sick: EngineSick | None = None
        self._grace_s, self._last_command_s = settings.grace_s, min(self._lease_s, LAST_COMMAND_S)
        self._liveness = Liveness(self._engine, self._lease_s)
        self._links = Connections(settings, self.metrics, engine.n_slots)
        self.on_ready: Callable[[], None] = lambda: None  # called before the first job is taken
        self._wire()

    def _wire(self) -> None:
        """Create the worker's parts and connect them with each other."""
        links, keys = self._links, Keys(self._settings.prefix)
        damage = DamageLog(keys, lambda key: self.metrics.damage.labels(key).inc())
        self._queue = JobQueue(
            links.job_link,
            keys,
            self.name,
            lease_s=self._lease_s,
            retry=links.job_retry,
            max_field_bytes=max(4096, MAX_UTF8_BYTES_PER_CHAR * self._settings.max_text_chars + 1),
            report=damage.report,
        )
        slots = Slots(
            self._is_taking,
            lambda: self._masters.has_one_master and self._liveness.loop_is_steady(),
            lambda: self._n_slots - self._n_busy(),
            lambda: 2 * self._n_slots - self._n_busy(),
            self._begin_all,
        )
        self._intake = Intake(
            queue=self._queue,
            doorbell=Doorbell(links.bell_link, keys),
            retry=links.job_retry,
            bell_retry=links.bell_retry,
            metrics=self.metrics,
            lease_s=self._lease_s,
            slots=slots,
        )
        self._keys = keys
        beating = BeatingWorker(
            engine_moves=self._liveness.engine_moves,
            loop_moves=self._liveness.loop_moves,
            on_lost=self._lost,
            on_failure=self.metrics.reconnects.labels("heartbeat").inc,
            report=damage.report,
            card=self._card,
        )
        self._heartbeat = Heartbeat(links.job_address, keys, self.name, self._lease_s, beating)
        self._masters = MasterCheck([links.job_link, links.bell_link], self._heartbeat)
        self.metrics.watch_round_trip(lambda: self._heartbeat.round_trips.median_s or math.nan)
        self._context = WorkerContext(
            queue=self._queue,
            plane=links.plane,
            engine=self._engine,
            voices=lambda: self._voices.in_use,
            metrics=self.metrics,
            default_voice=self._settings.default_voice,
            max_text_chars=self._settings.max_text_chars,
            max_attempts=self._settings.max_attempts,
            ahead_ms=self._settings.ahead_ms,
            text_wait_s=self._settings.text_wait_s,
            watch=self._watch,
            on_idle=self._idle_changed,
            admission=Admission(lambda: self._n_busy() > self._n_slots),
            arithmetic=self._engine.engine.arithmetic,
            tracing=self._tracing,
        )

    async def run(self) -> None:
        """Serve until `stop` is called and every job taken is finished or given back.

        Raises EngineSick when the engine cannot recover, as soon as every job taken is given back.
        """
        await self._startup()
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                background = [group.create_task(self._tick()), group.create_task(self._watch_engine())]
                background.append(group.create_task(self._links.sessions.run()))
                if self._settings.health_port is not None:
                    background.append(group.create_task(self._watch_depths()))
                claiming = group.create_task(self._take_jobs())
                background.append(group.create_task(self._intake.sweep()))
                await self._draining.wait()
                await self._drain(claiming)
                for task in background:
                    task.cancel()
        finally:
            await self._shutdown()
        if self._sick is not None:
            raise self._sick

    def stop(self) -> None:
        """Begin the drain: take no new jobs; finish running ones within the grace period, or give them back."""
        self._draining.set()
        self._intake.end()

    def reload_voices(self) -> None:
        """Read the voices again; after an error in a card the voices in use stay."""
        self._voices.ask()

    async def _startup(self) -> None:
        self._loop = asyncio.get_running_loop()
        engine = self._engine.engine
        log.info("worker %s: engine %s, %d slots", self.name, engine.name, self._n_slots)
        await self._engine.start(list(self._voices.in_use))
        self._heartbeat.start()
        self.metrics.slots_total.set(self._n_slots)
        if engine.memory_bytes is not None:
            self.metrics.watch_memory(lambda: engine.memory_bytes or 0)
        if engine.eager_launches is not None:
            self.metrics.watch_eager(lambda: engine.eager_launches or {})
        self.on_ready()
        self.metrics.ready.set(1)
        self._is_warm = True
        log.info("ready; voices: %s", ", ".join(self._voices.in_use.names))

    async def _drain(self, claiming: asyncio.Task[None]) -> None:
        self.metrics.ready.set(0)
        log.info("draining: %d utterances are running", len(self._running))
        await asyncio.wait({claiming}, timeout=self._last_command_s)
        claiming.cancel()
        tasks = [task for _, task in self._running.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=self._grace_s)
        left = list(self._running.values())
        for _, task in left:
            task.cancel()
        if left:
            log.info("the grace period is over: %d utterances are given back", len(left))
            await asyncio.wait([task for _, task in left])
            await self._best_effort(asyncio.gather(*[one.give_back() for one, _ in left]))

    async def _shutdown(self) -> None:
        self._intake.close()
        await self._engine.close()
        await asyncio.to_thread(self._heartbeat.stop)
        await self._best_effort(self._queue.deregister())
        await self._links.close()
        await asyncio.to_thread(self._tracing.close)
        log.info("worker %s has stopped", self.name)

    async def _best_effort(self, command: Awaitable[Any]) -> None:
        """A last command at shutdown. If Redis is unreachable, the end of the leases has the same effect."""
        try:
            async with asyncio.timeout(self._last_command_s):
                await command
        except (TimeoutError, RedisError, OSError) as error:
            log.warning("Redis did not answer this worker's last command; its leases will expire: %s", error)

    # Jobs.

    async def _take_jobs(self) -> None:
        await self._links.sessions.has_answered.wait()  # a worker that cannot reach sessions takes no jobs
        await self._links.check_rights()
        await self._intake.run()

    def _is_taking(self) -> bool:
        """False while the engine hangs, since jobs would only wait for it, and while a suspected poison job runs."""
        return self._liveness.engine_moves() and not self._context.admission.is_reserved

    def _n_busy(self) -> int:
        """Jobs that count against the slots: not those that rest. With orphans it may exceed them."""
        now = monotonic()
        if now - self._counted_at > COUNT_AGAIN_S:  # each count looks at every running job
            self._counted_at = now
            self._n_resting = sum(utterance.is_resting for utterance, _ in self._running.values())
        return len(self._running) - min(self._n_resting, len(self._running), MOST_RESTING * self._n_slots)

    def _idle_changed(self) -> None:
        self._counted_at = -math.inf
        self._intake.wake()

    def _begin_all(self, leases: list[Lease]) -> None:
        for lease in leases:
            self._heartbeat.add(lease)
            utterance = Utterance(self._context, lease)
            self._running[lease] = (utterance, self._group.create_task(self._run_one(utterance)))

    async def _run_one(self, utterance: Utterance) -> None:
        lease = utterance.lease
        try:
            await utterance.run()
        except Exception:
            log.exception("job %s failed; another worker takes it over when its lease ends", lease.entry_id)
        finally:
            self._heartbeat.remove(lease)
            del self._running[lease]
            if self._n_resting:  # it may have been one of them
                self._counted_at = -math.inf
            self._intake.wake()

    def _lost(self, lease: Lease) -> None:
        """Another worker has this job. Called on the heartbeat's thread."""
        assert self._loop is not None, "leases exist only after the start"
        with suppress(RuntimeError):  # the loop is closed: the utterance has stopped
            self._loop.call_soon_threadsafe(self._abort, lease)

    def _abort(self, lease: Lease) -> None:
        """Stop an utterance whose lease is lost before it writes again."""
        if lease in self._running:
            log.warning("lost the lease of job %s; its utterance stops", lease.entry_id)
            self.metrics.lost_leases.inc()
            self._running[lease][1].cancel()

    # Health.

    def problems(self) -> list[str]:
        """A sentence for each problem that a restart may solve. May be called from any thread."""
        hung = self._liveness.problems() if self._is_warm else []
        return [*hung, *self._intake.problems(), *self._links.problems(self._lease_s)]

    def warnings(self) -> list[str]:
        """A sentence for each problem that a restart would not solve."""
        return list(filter(None, [self._heartbeat.round_trips.problem()]))

    def is_ready(self) -> bool:
        """True once warmed up, and until the drain begins."""
        return self._is_warm and not self._draining.is_set()

    async def _tick(self) -> None:
        while True:
            self._liveness.tick()
            self._masters.check()
            self.metrics.slots_busy.set(self._n_busy())  # not for each job: it looks at every running one
            await asyncio.sleep(TICK * self._lease_s)

    async def _watch_engine(self) -> None:
        try:
            await self._engine.died()
        except EngineSick as error:
            self._sick = error
            self._grace_s = self._last_command_s = SICK_GRACE_S
            self.stop()

    async def _watch_depths(self) -> None:
        while True:
            try:
                self.metrics.show(await read_depths(self._links.job_link, self._keys))
            except (Refusal, *PASSING) as error:
                log.debug("the queue's lengths cannot be read: %s", error)
            await asyncio.sleep(DEPTHS_EVERY_S)

    def _watch(self, session_id: str, text_key: str | None) -> SessionWatch:
        return SessionWatch(self._links.watches, self._keys.audio(session_id), text_key)

    def _card(self) -> dict[str, Any]:
        """This worker's entry in the list of workers."""
        return {
            "host": host_name(),
            "pid": os.getpid(),
            "gpu": self._engine.engine.gpu,
            "model": self._engine.engine.name,
            "computed_on": self._context.arithmetic.name if self._context.arithmetic else None,
            "slots": self._n_slots,
            "busy": self._n_busy(),
            "draining": self._draining.is_set(),
        }
