"""Round-trip times to Redis, and whether they are short enough for the lease."""

from __future__ import annotations

import math
from collections import deque
from statistics import median

N_KEPT = 9
N_ENOUGH = 3  # one slow reply may be chance
LONGEST_LEASES = 1 / 3


class RoundTrips:
    """The last round trips of one connection, in seconds. Written by one thread, read by any.

    median_s: None before there are three.
    """

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self._last: deque[float] = deque(maxlen=N_KEPT)
        self.median_s: float | None = None

    @property
    def n_wanted(self) -> int:
        """How many more round trips the median needs."""
        return max(0, N_ENOUGH - len(self._last))

    def add(self, seconds: float) -> None:
        self._last.append(seconds)
        if not self.n_wanted:
            self.median_s = median(self._last)

    def problem(self) -> str | None:
        """A sentence with the remedy when the round trip is longer than a third of the lease."""
        seconds = self.median_s
        if seconds is None or seconds <= self._lease_s * LONGEST_LEASES:
            return None
        return (
            f"the job Redis answers after {seconds * 1000:.0f} ms, more than a third of the lease of "
            f"{self._lease_s * 1000:.0f} ms: other workers may take over the jobs of a live worker; set "
            f"MAKIMA_TTS_LEASE_MS to {enough_lease_ms(seconds)} or more on all workers, or move them nearer to Redis"
        )


def enough_lease_ms(round_trip_s: float) -> int:
    """The shortest lease for this round trip, in ms, a multiple of 100."""
    return math.ceil(round_trip_s / LONGEST_LEASES * 10) * 100
