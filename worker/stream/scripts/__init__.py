"""The Lua scripts: source text and SHA-1, read once from the package."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from hashlib import sha1
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Script:
    name: str
    source: str
    sha: str


def _load(prelude: str, name: str) -> Script:
    return _read(name, "_common.lua", prelude, f"{name}.lua")


def load_alone(name: str) -> Script:
    """A script of its own, of `queue repair` and `queue redrive`: no worker runs it."""
    return _read(name, f"{name}.lua")


@cache
def _read(name: str, *parts: str) -> Script:
    folder = files(__name__)
    source = "".join((folder / part).read_text("utf-8") for part in parts)
    return Script(name, source, sha1(source.encode(), usedforsecurity=False).hexdigest())


CLAIM = _load("_jobs.lua", "claim")
SETTLE = _load("_jobs.lua", "settle")
BEAT = _load("_jobs.lua", "beat")
RECLAIM = _load("_jobs.lua", "reclaim")
SWEEP = _load("_jobs.lua", "sweep")
MEND = _load("_jobs.lua", "mend")
BEGIN = _load("_session.lua", "begin")
APPEND = _load("_session.lua", "append")
END = _load("_session.lua", "end")
REPEAT = _load("_session.lua", "repeat")
