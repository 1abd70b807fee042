"""Two runs side by side: every figure of both, the ratio, and what they were made on where that differs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.gpu.steps import FORMAT

STATES = ("done", "failed", "lost", "not run", "running")
MOST = 1e15  # of a figure's size; anything larger is no measurement
UNSTEADY = ("pstate", "power.draw", "temperature.gpu")  # they differ from second to second


class RunError(ValueError):
    """A run cannot be made or read; the message names what to do."""


def compare(a: str, b: str) -> str:
    """The table of two result folders. Raises RunError."""
    ours, theirs = read(Path(a)), read(Path(b))
    lines = [f"A: {a}", f"B: {b}"]
    for part in sorted(ours.keys() | theirs.keys()):
        if part not in ours or part not in theirs:
            lines += ["", f"{part}: only in {'A' if part in ours else 'B'}"]
            continue
        lines += ["", f"{part}:", *_differences(ours[part], theirs[part]), *_table(ours[part], theirs[part])]
    return "\n".join(lines)


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """{part: its file's content} of a result folder. Raises RunError for a folder or file that is none."""
    paths = sorted(path for path in folder.glob("*.json") if path.name != "step-times.json")
    if not paths:
        raise RunError(f"{folder} has no results; give the --out folder of a run")
    return {path.stem: _part(path) for path in paths}


def _part(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes(), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} is not JSON ({error}); run the part again, or delete the file") from error
    problem = _problem(found)
    if problem:
        raise RunError(f"{path} is no result of benchmarks.gpu ({problem}); run the part again, or delete the file")
    return dict(found)


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _problem(found: Any) -> str:
    """Why this is not a part's result, else ""."""
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        return f"format {FORMAT} is expected"
    if not all(isinstance(found.get(name), dict) for name in ("device", "options", "steps")):
        return "device, options and steps are expected"
    for name, record in found["steps"].items():
        if not isinstance(record, dict) or record.get("state") not in STATES:
            return f"the step {name!r} has no state"
        if any(abs(value) > MOST for value in dict(_figures(record.get("result"))).values()):
            return f"the step {name!r} has a number that no measurement gives"
    return ""


def _differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[str]:
    """What the two were made on or with, where it differs."""
    for name in ("device", "options"):
        ours, theirs = (dict(_leaves(run[name])) for run in (a, b))
        for key in sorted(ours.keys() | theirs.keys()):
            if key.rsplit(", ", 1)[-1] in (*UNSTEADY, "out", "attempt", "model"):
                continue
            if ours.get(key) != theirs.get(key):
                yield f"  {key} differs: {ours.get(key, 'none')} | {theirs.get(key, 'none')}"


def _table(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[str]:
    rows = [("", "A", "B", "B / A")]
    for step in {**a["steps"], **b["steps"]}:
        if step == "device":
            continue
        ours, theirs = (run["steps"].get(step, {"state": "not there"}) for run in (a, b))
        if (ours["state"], theirs["state"]) != ("done", "done"):
            rows.append((step, str(ours["state"]), str(theirs["state"]), ""))
        left, right = (dict(_figures(one.get("result"))) for one in (ours, theirs))
        rows += [(f"{step}: {key}", *_cells(left.get(key), right.get(key))) for key in {**left, **right}]
    widths = [max(len(row[n]) for row in rows) for n in range(4)]
    for name, *cells in rows:
        yield "  " + name.ljust(widths[0]) + "".join("  " + c.rjust(w) for c, w in zip(cells, widths[1:], strict=True))


def _cells(a: float | None, b: float | None) -> tuple[str, str, str]:
    ratio = "" if not a or b is None else f"{b / a:.2f}"
    return *("-" if value is None else f"{value:g}" for value in (a, b)), ratio  # type: ignore[return-value]


def _figures(result: Any) -> Iterator[tuple[str, float]]:
    """(path, number) of every number in a step's result."""
    for path, value in _leaves(result):
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield path, value


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(path, leaf) of every leaf. An entry of a table, {"rows": 8, "ms": 7.1}, is named by its words."""
    if isinstance(value, Mapping):
        named = [(str(key), inner) for key, inner in value.items()]
    elif isinstance(value, list):
        named = [entry for n, inner in enumerate(value) for entry in _entries(inner, n)]
    else:
        yield path, value
        return
    for key, inner in named:
        yield from _leaves(inner, f"{path}, {key}" if path else key)


def _entries(entry: Any, n: int) -> list[tuple[str, Any]]:
    if not isinstance(entry, dict) or not any(map(_is_time, entry)):
        return [(str(n), entry)]
    name = ", ".join(f"{key} {value}" for key, value in entry.items() if not _is_time(key))
    return [(f"{name}, {key}", value) for key, value in entry.items() if _is_time(key)]


def _is_time(key: str) -> bool:
    return key in ("ms", "max_ms", "us")
