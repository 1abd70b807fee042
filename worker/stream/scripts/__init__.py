"""The Lua scripts: source and SHA-1, read once from the package.

A worker's script is three preludes and its own file: the constants of `_facts`, `_common.lua`, and `_jobs.lua` or
`_session.lua` for its plane.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from hashlib import sha1
from importlib.resources import files

from schemas.jobs import DEFAULT_TTL_MS, JOB_FIELDS, MAX_FIELDS, MAX_ID_CHARS
from worker.stream.keys import GROUP, SEEN_TTL_MS, SESSION_TTL_MS


@dataclass(frozen=True, slots=True)
class Script:
    name: str
    source: str
    sha: str


def _facts() -> str:
    """Lua declarations of constants defined in Python: the contract's fields and limits, and TTLs."""
    numbers = {
        "DEFAULT_TTL_MS": DEFAULT_TTL_MS,
        "MAX_FIELDS": MAX_FIELDS,
        "MAX_ID_CHARS": MAX_ID_CHARS,
        "SEEN_TTL_MS": SEEN_TTL_MS,
        "SESSION_TTL_MS": SESSION_TTL_MS,
    }
    lines = [f"local {name} = {value}" for name, value in numbers.items()]
    fields = ", ".join(f"{name} = true" for name in JOB_FIELDS)
    return "\n".join([*lines, f"local GROUP = '{GROUP}'", f"local JOB_FIELDS = {{ {fields} }}", ""])


def _load(prelude: str, name: str) -> Script:
    return _made(name, _facts(), _text("_common"), _text(prelude), _text(name))


@cache
def load_alone(name: str) -> Script:
    """A script without preludes, for an operator's command (`queue repair`, `queue redrive`)."""
    return _made(name, _text(name))


def _made(name: str, *parts: str) -> Script:
    source = "".join(parts)
    return Script(name, source, sha1(source.encode(), usedforsecurity=False).hexdigest())


@cache
def _text(name: str) -> str:
    return (files(__name__) / f"{name}.lua").read_text("utf-8")


CLAIM = _load("_jobs", "claim")
SETTLE = _load("_jobs", "settle")
BEAT = _load("_jobs", "beat")
RECLAIM = _load("_jobs", "reclaim")
SWEEP = _load("_jobs", "sweep")
SET_ASIDE = _load("_jobs", "set_aside")
BEGIN = _load("_session", "begin")
APPEND = _load("_session", "append")
LOOK = _load("_session", "look")
END = _load("_session", "end")
REPEAT = _load("_session", "repeat")
