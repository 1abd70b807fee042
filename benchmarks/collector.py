"""What a full garbage collection costs a worker: `python -m benchmarks.collector DIR`.

Loads and warms an engine on the CPU, and prints one JSON object: the milliseconds of a full collection, the median of
five, before and after the heap is frozen as a worker does when it is ready, and the number of objects frozen.
"""

from __future__ import annotations

import argparse
import gc
import json
from statistics import median
from time import perf_counter

from worker.engine.qwen.adapter import QwenSpeaker
from worker.loop import freeze_heap

N_TIMES = 5


def full_collection_ms() -> float:
    """The median of N_TIMES."""
    taken = []
    for _ in range(N_TIMES):
        began = perf_counter()
        gc.collect()
        taken.append((perf_counter() - began) * 1000)
    return median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="directory of the checkpoint")
    speaker = QwenSpeaker.load(parser.parse_args().model, "cpu", "auto", 8, None)
    speaker.warm_up([])
    before_ms = full_collection_ms()
    freeze_heap()
    after_ms = full_collection_ms()
    result = {"before_ms": round(before_ms, 3), "after_ms": round(after_ms, 3), "n_frozen": gc.get_freeze_count()}
    print(json.dumps(result))
    speaker.close()


if __name__ == "__main__":
    main()
