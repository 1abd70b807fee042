"""Cache folders for users without a name, a home or a folder for temporary files.

The speech model's libraries (torch, numba and others) look for such folders when they are imported, and fail without
one. The worker does not need what they would store there.
"""

from __future__ import annotations

import getpass
import os
import tempfile
from pathlib import Path


def provide_caches() -> None:
    """Set the environment variable of every library that would find no folder. A variable that is set stays."""
    if not (_has_name() and _temporary()):
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", _folder("torch") or os.sep)  # / exists and is never written
    home = os.path.expanduser("~")  # noqa: PTH111 (Path.home raises where there is none)
    if not os.access(home, os.W_OK):
        for name, variable in (("numba", "NUMBA_CACHE_DIR"), ("triton", "TRITON_CACHE_DIR")):
            if folder := _folder(name):
                os.environ.setdefault(variable, folder)
    if not os.path.isabs(home):  # noqa: PTH117
        os.environ["HOME"] = _folder("home") or os.sep


def _has_name() -> bool:
    try:
        getpass.getuser()
    except (KeyError, OSError, ImportError):  # KeyError before Python 3.13
        return False
    return True


def _temporary() -> str | None:
    try:
        return tempfile.gettempdir()
    except OSError:
        return None


def _folder(name: str) -> str | None:
    temporary = _temporary()
    return None if temporary is None else str(Path(temporary) / f"makima-tts-{name}-{os.getuid()}")
