"""The options of `bench engine`, checked without torch."""

from __future__ import annotations

from dataclasses import dataclass

from worker.engine.base import FRAME_RATE_HZ


@dataclass(frozen=True, slots=True)
class Bench:
    """The options of the measurement. n_slots: None for the largest of streams. rates: requests a second, open loop.

    n_requests: of each rate. n_threads: torch's on a CPU; None is torch's default. beside: a number format whose steps
    are timed in the same rounds. Raises ValueError.
    """

    model: str
    device: str = "auto"
    dtype: str = "auto"
    streams: tuple[int, ...] = (1, 4, 8)
    seconds: float = 4.0
    with_upstream: bool = False
    n_slots: int | None = None
    rates: tuple[float, ...] = ()
    n_requests: int = 40
    n_repeats: int = 5
    n_threads: int | None = None
    beside: str | None = None

    def __post_init__(self) -> None:
        if not self.streams or min(self.streams) < 1 or any(rate <= 0 for rate in self.rates):
            raise ValueError("--streams and --rates need numbers of at least 1 and above 0, such as 1,4,8")
        if max(self.streams) > self.slots:
            raise ValueError(f"{max(self.streams)} streams do not fit {self.slots} slots; give as many --slots")
        if self.n_frames < 3 or min(self.n_repeats, self.n_requests, self.n_threads or 1) < 1:
            raise ValueError("--repeats, --requests and --threads must be at least 1, and --seconds at least 0.24")

    @property
    def n_frames(self) -> int:
        return round(self.seconds * FRAME_RATE_HZ)

    @property
    def slots(self) -> int:
        return max(self.streams) if self.n_slots is None else self.n_slots
