"""Measure a GPU: python -m benchmarks.gpu [micro] [figures] [tests] --out DIR --model DIR, and compare two runs.

micro: kernels by themselves. figures: start-up, frames, codec, first audio, streams, upstream. tests: tests/gpu. Each
part has its own process, each step a time limit and a file under DIR/steps; DIR/PART.json has a part's steps and what
they were made on. A step that fails, hangs or leaves the GPU unusable costs no other. After figures,
DIR/step-times.json has the table that benchmarks.load reads.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from benchmarks.gpu.compare import RunError, compare
from benchmarks.gpu.parts import Part, is_sound
from benchmarks.gpu.steps import PARTS, Options
from benchmarks.gpu.table import write_table


def main(words: list[str] | None = None) -> int:
    options = _parser().parse_args(words)
    try:
        if options.compare:
            print(compare(*options.compare))
            return 0
        return _run(options)
    except (RunError, ValueError, OSError) as error:
        print(f"benchmarks.gpu: {error}", file=sys.stderr)
        return 2


def _run(given: argparse.Namespace) -> int:
    parts = given.parts or list(PARTS)
    if given.out is None:
        raise RunError("no folder for the results was given; give --out DIR")
    if "figures" in parts and not (given.model and Path(given.model).is_dir()):
        raise RunError(
            f"figures need a checkpoint, and --model {given.model or 'was not given'} is no folder; write one:"
            " python -m benchmarks.checkpoint full DIR"
        )
    until_s = time.monotonic() + given.limit_s
    made = [
        Options(
            part, str(Path(given.out).resolve()), given.device, str(Path(given.model or ".").resolve()), given.dtype,
            given.kernels, given.slots, given.frames, given.positions, given.tag, given.commit,
            tuple(filter(None, given.only.split(","))),
        )
        for part in parts
    ]  # fmt: skip
    for part in [Part(options, until_s) for options in made]:  # all are made first, which checks their options
        part.run()
    write_table(made)
    return 0 if all(map(is_sound, made)) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="part", help="default: all three, in order")
    parser.add_argument("--out", help="folder of the results; a part's earlier ones there are replaced")
    parser.add_argument("--model", help="checkpoint for figures: python -m benchmarks.checkpoint full DIR")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, or cpu for a trial of the steps (default cuda)")
    parser.add_argument("--dtype", default="auto", help="of the talker (default auto)")
    parser.add_argument("--kernels", default="auto", help="auto, triton or torch (default auto)")
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--frames", type=int, default=100, help="of each utterance (default 100, which is 8 s)")
    parser.add_argument("--positions", type=int, default=2048, help="of a slot: prompt and frames")
    parser.add_argument("--only", default="", help="names of steps, with commas")
    parser.add_argument("--tag", default="", help="added to the part's name, for a second run in the same folder")
    parser.add_argument("--commit", default="", help="recorded where the folder has no git")
    parser.add_argument("--limit-s", type=float, default=900, help="of the whole run (default 900)")
    parser.add_argument("--compare", nargs=2, metavar=("A", "B"), help="print two folders of results side by side")
    return parser


if __name__ == "__main__":
    sys.exit(main())
