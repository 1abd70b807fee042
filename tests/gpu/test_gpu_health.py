"""What a broken CUDA context looks like, in a process of its own: the worker must end after it, and only after it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
PROGRAM = """
import json, torch
from worker.engine.health import is_beyond_repair

found = []
for fail in ({fails}):
    try:
        fail()
        torch.cuda.synchronize()
    except Exception as error:
        found.append([is_beyond_repair(error), type(error).__name__, str(error)[:200]])
print(json.dumps(found))
"""
ILLEGAL = "lambda: torch.zeros(3, device='cuda')[torch.full((1,), 5, device='cuda')]"
TOO_LARGE = "lambda: torch.empty(2**50, dtype=torch.uint8, device='cuda')"
SOUND = "lambda: 1 / (torch.ones(1, device='cuda').item() - 1)"  # fails on the host; the context computes


def outcomes(*fails: str) -> list[Any]:
    program = PROGRAM.format(fails=", ".join(fails) + ",")
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False
    )
    found: list[Any] = json.loads(done.stdout.splitlines()[-1]) if done.stdout else [done.stderr]
    return found


def test_an_error_inside_a_kernel_and_every_error_after_it_end_the_worker() -> None:
    found = outcomes(ILLEGAL, SOUND, "lambda: torch.ones(1, device='cuda')")
    assert [beyond for beyond, *_ in found] == [True, True, True], found


def test_lack_of_memory_does_not() -> None:
    found = outcomes(TOO_LARGE, SOUND)
    assert [beyond for beyond, *_ in found] == [False, False], found
