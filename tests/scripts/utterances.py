"""Helpers for tests of BEGIN and END: begin, speak, take over, and a listener that leaves."""

from __future__ import annotations

from typing import Any

from tests.scripts.plane import Lease, Plane

TTL_MS = 600_000
KINDS = ("complete", "cancelled", "error")


def begin(plane: Plane, lease: Lease, believed: int = 0, **options: Any) -> str:
    """BEGIN, which must succeed; returns the epoch."""
    answer = plane.begin(lease, believed, **options)
    if answer[:2] == ["MOVED", str(believed)]:  # in the attempt alone
        answer = plane.begin(lease, believed, attempt=answer[2], **options)
    assert answer[0] == "OK"
    return str(answer[1])


def counted(plane: Plane, lease: Lease, believed: int = 0) -> tuple[int, int]:
    """BEGIN, which must succeed; returns the attempt's number in the message and the fruitless attempts in a row."""
    answer, attempt = plane.begin(lease, believed, attempt=0), 0
    if answer[0] == "MOVED":
        attempt = int(answer[2])
        answer = plane.begin(lease, believed, attempt=attempt)
    assert answer[0] == "OK"
    return attempt, int(answer[2])


def taken_over(lease: Lease, by: int = 1) -> Lease:
    return Lease(lease.entry_id, lease.attempt + 1, str(int(lease.fence) + by), lease.session_id, lease.fields, "w2")


def speak(plane: Plane, lease: Lease, n_chunks: int = 2, believed: int = 0) -> tuple[str, int, str]:
    """BEGIN and chunks of 10 samples; returns the epoch, samples delivered, and the writer's next ID."""
    epoch = begin(plane, lease, believed)
    for n in range(1, n_chunks + 1):
        assert plane.write(lease, f"{epoch}-{n}", believed + 10 * n) == ["OK"]
    return epoch, believed + 10 * n_chunks, f"{epoch}-{n_chunks + 1}"


def forget_stream(plane: Plane) -> None:
    plane.client.delete(plane.keys.audio("s1"))
