"""How long the silence of a session's first unfinished job is normal, by the table of the contract."""

from __future__ import annotations

ROOM_S = 15.0  # for a lease, the delays between attempts, and a slow Redis
BEGUN_S = 45.0


def limit_s(has_begun: bool, has_whole_text: bool, ttl_ms: int, text_wait_s: float) -> float:
    """Seconds without an entry after which no worker will answer any more."""
    if not has_begun:
        return ttl_ms / 1000 + ROOM_S
    return BEGUN_S if has_whole_text else max(BEGUN_S, text_wait_s + ROOM_S)
