"""The event loop, on uvloop where it is installed, and the settings of the garbage collector.

The extra `fast` installs uvloop. docs/benchmarks.md shows what it saves.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

COLLECT_EVERY = 20_000  # net allocations between two collections; Python's default is 700


def run(main: Coroutine[Any, Any, T]) -> T:
    """asyncio.run, with the loop of `loop_factory`."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(main)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The factory of uvloop's event loop; None, for asyncio's own, without uvloop."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def freeze_heap() -> None:
    """Exclude all present objects from garbage collection. Call it once everything is loaded and warm.

    Modules, most of them torch's, and what a warm-up makes are some 100,000 permanent objects or more; traversing them
    pauses every utterance.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_EVERY)
