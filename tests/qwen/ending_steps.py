"""A part of benchmarks.gpu whose steps end in every way a step can."""

from __future__ import annotations

import os
import signal
import time
from functools import partial

from benchmarks.gpu.steps import Options, Step


def steps(_: Options) -> list[Step]:
    return [
        Step("device", 30, partial(dict, card="a card", commit="1"), is_needed=True),
        Step("works", 30, lambda: {"ms": 2.5}),
        Step("raises", 30, _raise),
        Step("is slow", 1, lambda: time.sleep(60)),
        Step("hangs", 1, _hang),
        Step("poisons", 30, partial(_raise, "CUDA error: an illegal memory access was encountered")),
        Step("crashes", 30, lambda: os.kill(os.getpid(), signal.SIGSEGV)),
        Step("works last", 30, lambda: {"ms": float("inf")}),
    ]


def _raise(words: str = "a plain error") -> None:
    raise RuntimeError(words)


def _hang() -> None:
    """Block as a library call does: without seeing the alarm."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    time.sleep(60)
