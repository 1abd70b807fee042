"""The worker context, shared by all of its utterances."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from worker.engine.base import Arithmetic
from worker.engine.thread import EngineThread
from worker.observe.metrics import Metrics
from worker.observe.tracing.off import Tracing
from worker.stream.queue import JobQueue
from worker.stream.session_writer import SessionPlane
from worker.stream.watch import SessionWatch
from worker.utterance.admission import Admission
from worker.voices.registry import Registry


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """The parts and limits of one worker. arithmetic: None if the engine does not name the arithmetic of its samples.

    ahead_ms: how far a job without a limit of its own may be ahead of its listener; 0 for no limit.
    text_wait_s: the longest wait for a piece of a text that is being written. watch: makes the watch of a session, from
    its ID and the key of the text that is being written.
    on_idle: called when an utterance has nothing to speak before more text comes, and when it has again.
    voices: returns the registry in use, which a reload replaces.
    """

    queue: JobQueue
    plane: SessionPlane
    engine: EngineThread
    voices: Callable[[], Registry]
    metrics: Metrics
    default_voice: str
    max_text_chars: int
    max_attempts: int
    ahead_ms: int
    text_wait_s: float
    watch: Callable[[str, str | None], SessionWatch]
    on_idle: Callable[[], None] = lambda: None
    admission: Admission = field(default_factory=Admission)
    arithmetic: Arithmetic | None = None
    tracing: Tracing = field(default_factory=Tracing)
