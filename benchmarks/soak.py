"""Soak test of memory: `python -m benchmarks.soak DIR --utterances 2000`.

Short utterances with changing texts, voices, modes and samplings go through the slots of one engine. Resident memory is
printed to stderr after every 200th, and to stdout one JSON object with the ratio of the last value to the first.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from worker.bench.engine_streams import TRANSCRIPT, recording
from worker.engine.qwen import QwenEngine, Sampling, SpeechRequest, Voice

WORDS = ("Yes.", "no", "and", "Tuesday", "it", "seventeen", "understands", "a", "good", "evening!")
GREEDY, WARM, WIDE = Sampling(greedy=True), Sampling(), Sampling(temperature=1.1, top_k=0, top_p=0.9)
EVERY = 200
MOST_FRAMES = 12


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def utterances(voices: list[Voice], n: int) -> Iterator[SpeechRequest]:
    rng = np.random.default_rng(11)
    for seed in range(n):
        yield SpeechRequest(
            text=" ".join(rng.choice(WORDS, rng.integers(1, 12))),
            voice=voices[seed % len(voices)],
            language=("English", "Auto", "de")[seed % 3],
            sampling=(GREEDY, WARM, WIDE)[int(rng.integers(3))],
            seed=seed,
            max_frames=int(rng.integers(1, MOST_FRAMES + 1)),
            whole_text=bool(rng.integers(2)),
        )


def soak(engine: QwenEngine, n: int) -> list[int]:
    """Resident bytes after every 200th utterance, and after the last."""
    made = recording()
    long = engine.prompt(made.audio, made.sample_rate_hz, TRANSCRIPT, "icl")
    short = engine.prompt(made.audio[: len(made.audio) * 2 // 3], made.sample_rate_hz, TRANSCRIPT[:20], "icl")
    voices = [long, short, engine.prompt(made.audio, made.sample_rate_hz, mode="x_vector")]
    resident, n_ended = [], 0
    for event in engine.stream(utterances(voices, n)):
        n_ended += event.finish is not None
        if event.finish is not None and (n_ended % EVERY == 0 or n_ended == n):
            resident.append(resident_bytes())
            print(f"{n_ended}: {resident[-1] / 2**20:.1f} MiB", file=sys.stderr)
    return resident


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("model", help="a checkpoint's directory")
    parser.add_argument("--utterances", type=int, default=2000)
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    engine = QwenEngine.load(options.model, device=options.device, slots=options.slots)
    resident = soak(engine, options.utterances)
    figures = {
        "utterances": options.utterances,
        "slots": options.slots,
        "threads": options.threads,
        "resident_bytes": resident,
        "last_vs_first": round(resident[-1] / resident[0], 4),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
