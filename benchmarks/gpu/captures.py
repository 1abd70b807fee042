"""What a start captures: graphs and seconds by kind."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from time import perf_counter

from torch import Tensor

from worker.engine.qwen.cuda import Replayer


@contextmanager
def captures_by_kind() -> Iterator[dict[str, list[float]]]:
    """Fills {kind: [graphs, seconds]} with every call of Replayer.capture in this context."""
    found: dict[str, list[float]] = {}
    usual = Replayer.capture

    def timed(self: Replayer, key: Hashable, function: Callable[[], Tensor | None]) -> None:
        began = perf_counter()
        usual(self, key, function)
        n, seconds = found.get(kind_of(key), (0, 0.0))
        found[kind_of(key)] = [n + 1, round(seconds + perf_counter() - began, 3)]

    Replayer.capture = timed  # type: ignore[method-assign]
    try:
        yield found
    finally:
        Replayer.capture = usual  # type: ignore[method-assign]


def kind_of(key: Hashable) -> str:
    """The kind of a graph by its key: its name where it has one, else its type."""
    if isinstance(key, tuple):
        return key[0] if key and isinstance(key[0], str) else "codec"
    return type(key).__name__
