"""The table of step times that benchmarks.load reads, from the figures of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.gpu.parts import records
from benchmarks.gpu.steps import FORMAT, Options, Record, write

FILE = "step-times.json"
NEEDED = ("device", "frame", "codec", "prefill", "overlap")


def write_table(made: list[Options]) -> None:
    """Write OUT/step-times.json for each part that has all the figures; tagged as the part is."""
    for options in made:
        found = {name: record["result"] for name, record in records(options).items() if record["state"] == "done"}
        if all(name in found for name in NEEDED):
            tag = f"-{options.tag}" if options.tag else ""
            write(Path(options.out) / FILE.replace(".", f"{tag}.", 1), table(found))


def table(found: Record) -> dict[str, Any]:
    """The table of these steps' results."""
    device = found["device"]
    return {
        "format": FORMAT,
        "source": f"measured on {device['card']} at {device['commit']}",
        "frame_ms": [_without_longest(entry) for entry in found["frame"]],
        "prefill_ms": [_without_longest(entry) for entry in found["prefill"]],
        "codec_ms": [_without_longest(entry) for entry in found["codec"]],
        "codec_hidden": found["overlap"]["codec_hidden"],
        "host_ms": found["overlap"]["host_ms"],
    }


def _without_longest(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name != "max_ms"}
