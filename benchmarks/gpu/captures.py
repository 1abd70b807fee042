"""What a start captures: graphs and seconds by kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

from torch import Tensor

from worker.engine.qwen.cuda import Key, Replayer


@contextmanager
def captures_by_kind() -> Iterator[dict[str, list[float]]]:
    """Fills {kind: [graphs, seconds]} with every call of Replayer.capture in this context."""
    found: dict[str, list[float]] = {}
    usual = Replayer.capture

    def timed(self: Replayer, key: Key, function: Callable[[], Tensor | None]) -> None:
        began = perf_counter()
        usual(self, key, function)
        n, seconds = found.get(key[0], (0, 0.0))
        found[key[0]] = [n + 1, round(seconds + perf_counter() - began, 3)]

    Replayer.capture = timed  # type: ignore[method-assign]
    try:
        yield found
    finally:
        Replayer.capture = usual  # type: ignore[method-assign]
