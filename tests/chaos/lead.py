"""How far a worker was ahead of a listener: one who plays an attempt from its first entry on, and waits when dry.

All by the times in the entries, which are the session's Redis'. Each attempt is measured by itself: at a take-over a
worker knows only roughly where its listener is.
"""

from __future__ import annotations

from dataclasses import dataclass

SLACK_S = 0.25  # a worker writes when the lead has fallen below the limit by its own clock


@dataclass(slots=True)
class Lead:
    """Of one job. after_s: the lead after the newest chunk."""

    after_s: float = 0.0
    _attempt: int = 0
    _at_s: float = 0.0
    _plays_until_s: float = 0.0

    def begin(self, attempt: int, at_ms: int) -> None:
        """A begin that is repeated after a cancel or a lost reply is the same attempt."""
        if attempt != self._attempt:
            self._attempt, self._plays_until_s = attempt, at_ms / 1000

    def hear(self, at_ms: int, seconds: float) -> float:
        """A chunk of so many seconds; returns the lead before it. A clock that was set back begins anew."""
        at_s = at_ms / 1000
        if at_s < self._at_s:
            self._plays_until_s = at_s
        self._at_s = at_s
        lead_s = max(0.0, self._plays_until_s - at_s)
        self.after_s = lead_s + seconds
        self._plays_until_s = at_s + self.after_s
        return lead_s
