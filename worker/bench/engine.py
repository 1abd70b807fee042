"""`bench engine`: checks its options before torch is loaded, measures, and writes the JSON."""

from __future__ import annotations

import sys
from typing import Any

from worker.bench import report
from worker.bench.engine_settings import Bench
from worker.engine.base import EngineError
from worker.engine.checkpoint import packages


def run(out: str, model: str, streams: str, rates: str, **options: Any) -> int:
    """Measure and write the JSON to a file, or to stdout for "-". streams, rates: as typed. options: of `Bench`."""
    try:
        counts = tuple(int(word) for word in streams.split(","))
        bench = Bench(model, streams=counts, rates=tuple(float(word) for word in rates.split(",") if word), **options)
    except ValueError as error:
        print(f"makima-tts: {error}", file=sys.stderr)
        return 2
    if (problem := packages.package_problem()) is not None:
        print(f"makima-tts: {problem}", file=sys.stderr)
        return 1
    from worker.bench.engine_report import measure

    try:
        report.write(measure(bench), out)
    except (EngineError, OSError) as error:
        print(f"makima-tts: {error}", file=sys.stderr)
        return 1
    return 0
