"""The JSON of every bench: the processor it ran on, and the file it goes to."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write(report: Mapping[str, Any], out: str) -> None:
    """Write the report to a file, or to stdout for "-". Raises OSError."""
    text = json.dumps(report, indent=2)
    if out == "-":
        print(text)
    else:
        Path(out).write_text(text + "\n", "utf-8")


def processor_name() -> str:
    """The processor's name from the kernel, or as near to it as Python knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
