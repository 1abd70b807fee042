"""Whether Triton's kernels can run: what Triton needs on the machine beside a GPU. Does not import it."""

from __future__ import annotations

import os
import shutil
import sysconfig
from importlib.util import find_spec
from pathlib import Path


def triton_problem() -> str | None:
    """Why Triton cannot launch kernels on a GPU here, with the remedy; None when it can."""
    if find_spec("triton") is None:
        return "Triton is not installed: pip install triton"
    if not any(map(shutil.which, filter(None, (os.environ.get("CC"), "gcc", "clang")))):
        return "Triton finds no C compiler: install gcc"
    if not (Path(sysconfig.get_paths()["include"]) / "Python.h").exists():
        return "Triton finds no Python.h: install Python's development headers"
    return None
