"""Whether a worker's event loop and engine make progress, judged from any thread."""

from __future__ import annotations

from math import inf
from time import monotonic

from worker.engine.thread import EngineThread

# In leases. A job counts as silent after 0.75, and its last renewal may be 0.25 older than the standstill. Others that
# stood still too may skip a renewal; the next one comes 0.25 later.
TICK, STILL, SETTLED = 0.125, 0.375, 0.375


class Liveness:
    """Progress of the event loop and the engine. lease_s: seconds without progress that count as a hang.

    A loop stands still where two ticks are further apart than `STILL` leases: its process had no processor, or was
    stopped. Jobs that another worker, or this one, renews may then look silent although nobody died.
    """

    def __init__(self, engine: EngineThread, lease_s: float) -> None:
        self._engine = engine
        self._lease_s = lease_s
        self._ticked_at = monotonic()
        self._stood_still_at = -inf

    def tick(self) -> None:
        """Called on the event loop, every `TICK` of a lease."""
        if self._is_late():
            self._stood_still_at = monotonic()
        self._ticked_at = monotonic()

    def loop_is_steady(self) -> bool:
        """Whether the loop has not stood still, or has moved for so long since that overdue renewals have been sent."""
        return not self._is_late() and monotonic() - self._stood_still_at > SETTLED * self._lease_s

    def _is_late(self) -> bool:
        return monotonic() - self._ticked_at > STILL * self._lease_s

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
