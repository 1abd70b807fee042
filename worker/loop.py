"""How a worker runs its event loop: on uvloop where that is installed, beside a collector of garbage that looks rarely.

The extra `fast` installs uvloop. docs/benchmarks.md has what it saves.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

COLLECT_EVERY = 20_000  # objects made and not freed; Python's own 700 is for programs that make few


def run(main: Coroutine[Any, Any, T]) -> T:
    """As asyncio.run does."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(main)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes uvloop's loop; None, which is asyncio's own, where uvloop is not installed."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def freeze_heap() -> None:
    """To be called once everything is loaded: the collector no longer looks at it.

    Modules, torch's above all, are some 100,000 objects that stay; going through them stops every utterance.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_EVERY)
