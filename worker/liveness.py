"""Whether a worker's event loop and engine make progress, judged from any thread."""

from __future__ import annotations

from time import monotonic

from worker.engine.thread import EngineThread


class Liveness:
    """Progress of the event loop and the engine. lease_s: seconds without progress that count as a hang."""

    def __init__(self, engine: EngineThread, lease_s: float) -> None:
        self._engine = engine
        self._lease_s = lease_s
        self._ticked_at = monotonic()

    def tick(self) -> None:
        """Called on the event loop, several times a lease."""
        self._ticked_at = monotonic()

    def loop_moves(self) -> bool:
        return monotonic() - self._ticked_at <= self._lease_s

    def engine_moves(self) -> bool:
        return self._engine.moves(self._lease_s)

    def problems(self) -> list[str]:
        """A sentence for each of the two that hangs."""
        found = []
        if not self.loop_moves():
            found.append(f"the event loop has made no progress for {monotonic() - self._ticked_at:.1f} s")
        if not self.engine_moves():
            found.append(f"the engine has made no progress for the lease of {self._lease_s} s, or has died")
        return found
