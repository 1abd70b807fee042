"""`python -m tests.fuzz --n 100000 --seed S`: malformed inputs for every parser, made by Hypothesis.

Exit status 1 when a fault was found. Its shortest input is shown in base64, or kept in a file when it is long;
`--target NAME --replay INPUT` or `--replay @FILE` parses it again.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import secrets
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from tempfile import gettempdir

from tests.fuzz.child import Shard
from tests.fuzz.crew import shards_of, work_off
from tests.fuzz.target import Finding, Tally, Target
from tests.fuzz.targets import TARGETS

COLUMNS = ("target", "inputs", "accepted", "slowest ms", "most MiB", "seconds", "findings")
SHOWN_CHARS = 2000


def main(arguments: Sequence[str] | None = None) -> int:
    asked = _arguments(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    targets = [target for target in TARGETS if asked.target in (None, target.name)]
    if not targets:
        sys.stderr.write(f"no target {asked.target}; there are {', '.join(target.name for target in TARGETS)}\n")
        return 2
    if asked.replay is not None:
        shards = [Shard(targets[0].name, "", 1, replay=asked.replay)]
    else:
        sys.stdout.write(f"seed {asked.seed}, {asked.n:,} inputs\n")
        shards = shards_of(targets, asked.n, asked.seed)
    started = time.monotonic()
    tallies = work_off(shards, asked.processes)
    found = [finding for tally in tallies for finding in tally.findings]
    findings = list({(finding.target, finding.kind, finding.where): finding for finding in found}.values())
    _show(targets, tallies, findings, time.monotonic() - started)
    if asked.json:
        report = {"seed": asked.seed, "tallies": [asdict(tally) for tally in tallies]}
        Path(asked.json).write_text(json.dumps(report, indent=1), "utf-8")
    return 1 if findings else 0


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__, fromfile_prefix_chars="@")
    parser.add_argument("--n", type=int, default=100_000, help="inputs of all targets together")
    parser.add_argument(
        "--seed", default=secrets.token_hex(4), help="any word; the same word and --n give the same inputs"
    )
    parser.add_argument("--target", help="only this target")
    parser.add_argument("--replay", metavar="BASE64", help="parse this input of --target")
    parser.add_argument("--json", metavar="FILE", help="write the tallies there")
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1))
    asked = parser.parse_args(arguments)
    if asked.replay is not None and asked.target is None:
        parser.error("--replay needs --target")
    return asked


def _show(targets: Sequence[Target], tallies: Sequence[Tally], findings: Sequence[Finding], seconds: float) -> None:
    of_target: dict[str, list[Tally]] = defaultdict(list)
    for tally in tallies:
        of_target[tally.target].append(tally)
    rows = [COLUMNS]
    for target in targets:
        of_it = of_target[target.name]
        rows.append((
            target.name,
            f"{sum(tally.n_inputs for tally in of_it):,}",
            f"{sum(tally.n_accepted for tally in of_it):,}",
            f"{max(tally.slowest_s for tally in of_it) * 1000:.0f}",
            f"{max(tally.most_mib for tally in of_it):.0f}",
            f"{sum(tally.seconds for tally in of_it):.1f}",
            str(sum(finding.target == target.name for finding in findings)),
        ))  # fmt: skip
    for row in rows:
        sys.stdout.write("".join(f"{cell:>12}" if at else f"{cell:14}" for at, cell in enumerate(row)) + "\n")
    n_inputs = sum(tally.n_inputs for tally in tallies)
    sys.stdout.write(f"{n_inputs:,} inputs in {seconds:.0f} s, {len(findings)} findings\n")
    for finding in findings:
        name = finding.target
        again = finding.input if len(finding.input) <= SHOWN_CHARS else f"@{_kept(name, finding.input)}"
        sys.stdout.write(
            f"\n{name}: {finding.kind}: {finding.what}\n  {finding.where}\n  --target {name} --replay {again}\n"
        )


def _kept(name: str, words: str) -> Path:
    """A file with an input that is too long for a terminal; argparse reads it behind an @."""
    file = Path(gettempdir()) / f"fuzz-{name}-{sha256(words.encode()).hexdigest()[:12]}"
    file.write_text(words, "ascii")
    return file


if __name__ == "__main__":
    sys.exit(main())
