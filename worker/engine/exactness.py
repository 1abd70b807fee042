"""Exactness: whether float32 products on this CPU are equal for any number of threads and any batch.

torch multiplies with Intel's MKL on x86-64. On Intel's processors MKL splits a long sum among its threads, and the
split also depends on the shape. In the mode `AUTO,STRICT` it sums in one order. Intel documents that for the number of
threads; for shapes it is known by trial, so `check` tries it in the process that multiplies. Processors without MKL
(arm64) are tried in the same way.

`python -m worker.engine.exactness` prints the findings of a fresh process as a JSON object for `doctor`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from worker.engine.base import EngineError

VARIABLE = "MKL_CBWR"
STRICT = "AUTO,STRICT"
N_THREADS = (1, 2, 3, 4)
QUICK = ((64, 1024, 208),)  # outputs, inputs, columns: some milliseconds
# Products of the real codec's sizes. MKL changes its algorithm at about 192 columns.
WIDE = ((16, 769, 16), *QUICK, (512, 1024, 48), (256, 1024, 400), (1536, 7168, 208))
N_ROWS = 3
BLOCK = 16


def set_strict_mode() -> None:
    """Set MKL's strict mode unless the environment names one. MKL reads it once, before its first product."""
    os.environ.setdefault(VARIABLE, STRICT)


@cache
def check(wide: bool = False) -> EngineError | None:
    """The products that depend on threads or batch, as an error with its remedy; None when none does.

    wide: also products of the real sizes, which takes seconds. The result is cached for the life of the process.
    """
    unequal: list[str] = []
    n = 0
    for shape in WIDE if wide else QUICK:
        found, tried = _unequal(*shape)
        unequal += found
        n += tried
    if not unequal:
        return None
    problem = f"{len(unequal)} of {n} products of this process change in their last bits, first {unequal[0]}"
    return EngineError(problem, _remedy())


@contextmanager
def threads(n: int | None) -> Iterator[int]:
    """Compute with n threads on a CPU, or with torch's own number for None; yields the number."""
    usual = torch.get_num_threads()
    torch.set_num_threads(usual if n is None else n)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(usual)


def _remedy() -> str:
    mode = os.environ.get(VARIABLE)
    if not torch.backends.mkl.is_available():
        return "this build of torch multiplies without MKL and has no remedy"
    if mode != STRICT:
        return f"{VARIABLE} is {mode}: set it to {STRICT} before the process starts"
    return (
        f"{VARIABLE} was set after the first product: set {VARIABLE}={STRICT} before the process starts, "
        "or import worker.engine.qwen before anything multiplies"
    )


def _unequal(n_out: int, n_in: int, n_columns: int) -> tuple[list[str], int]:
    """The products of this shape that differ from that of one row on one thread, and how many were tried."""
    numbers = torch.Generator().manual_seed(n_in)
    weight = torch.randn(n_out, n_in, generator=numbers)
    x = torch.randn(N_ROWS, n_in, n_columns, generator=numbers)
    every, first, last = slice(None), slice(BLOCK), slice(n_columns - BLOCK, None)
    unequal: list[str] = []
    n = 0
    for multiply in (_by_columns, _by_rows):
        with threads(1):
            wanted = multiply(weight, x[:1])
        for n_threads in N_THREADS:
            for n_rows, columns in ((1, every), (N_ROWS, every), (1, first), (1, last)):
                with threads(n_threads):
                    product = multiply(weight, x[:n_rows, :, columns].contiguous())
                n += 1
                if not torch.equal(product[:1], wanted[:, :, columns]):
                    columns_here = product.shape[2]
                    unequal.append(f"{n_out} x {n_in} times {n_rows} x {columns_here} on {n_threads} threads")
    return unequal, n


def _by_columns(weight: Tensor, x: Tensor) -> Tensor:
    """x [B, in, n] -> [B, out, n], as the codec's convolutions multiply."""
    return torch.baddbmm(weight.new_zeros(len(weight), 1), weight.expand(len(x), -1, -1), x)


def _by_rows(weight: Tensor, x: Tensor) -> Tensor:
    """The same, as the codec's linear layers multiply."""
    rows = x.transpose(1, 2).reshape(-1, x.shape[1])
    return functional.linear(rows, weight).view(len(x), x.shape[2], -1).transpose(1, 2)


def report() -> dict[str, str]:
    """What `check` finds with wide products, and the instruction set that torch computes with.

    {"problem", "remedy", "instructions"}; the first two are "" when nothing is wrong.
    """
    error = check(wide=True)
    found = {"problem": error.problem, "remedy": error.remedy} if error else {"problem": "", "remedy": ""}
    return found | {"instructions": torch.backends.cpu.get_cpu_capability()}


if __name__ == "__main__":
    set_strict_mode()
    print(json.dumps(report()))
