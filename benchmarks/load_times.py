"""The step-time table of a device: how long frames, prefills and codec calls take, by their size.

`benchmarks.gpu` writes such a table (steps.json) from measurements. Two computed ones lie beside this file.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

FORMAT = 1
TABLES = {name: Path(__file__).with_name(f"steps_{name}.json") for name in ("computed", "improved")}

Curve = tuple[list[float], list[float]]  # sizes in ascending order, and their milliseconds


class TableError(ValueError):
    """A step-time table is not usable, or a size lies beyond its largest."""


@dataclass(frozen=True, slots=True)
class StepTable:
    """Times in seconds, interpolated between the table's points. Below the smallest point its time holds.

    source: how the times were found. frames: a curve of rows for each attended length. prefills: of tokens, for one
    pack. is_packed: segments admitted together are one prefill. codec: of rows times frames. host_s: the host's time
    of a step, and begin_s of a segment's admission. codec_hidden: the share of a codec call's time that costs the
    frames beside it nothing.
    """

    source: str
    frames: dict[int, Curve]
    prefills: Curve
    is_packed: bool
    codec: Curve
    host_s: float
    begin_s: float
    codec_hidden: float

    @classmethod
    def read(cls, path: Path) -> StepTable:
        """Raises TableError."""
        try:
            table = json.loads(path.read_text("utf-8"))
            if table["format"] != FORMAT:
                raise TableError(f"{path} has format {table['format']!r}; this program reads format {FORMAT}")
            return cls._of(table)
        except (OSError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, TableError):
                raise
            raise TableError(f"{path} is no step-time table ({type(error).__name__}: {error})") from error

    @classmethod
    def _of(cls, table: dict[str, Any]) -> StepTable:
        by_length = defaultdict(list)
        for point in table["frame_ms"]:
            by_length[int(point["attended"])].append((point["rows"], point["ms"]))
        hidden = float(table["codec_hidden"])
        if not 0 <= hidden <= 1:
            raise TableError(f"codec_hidden is {hidden}; it is a share, 0 to 1")
        if not by_length:
            raise TableError("frame_ms has no points; give at least one")
        return cls(
            source=str(table["source"]),
            frames={length: _curve(points) for length, points in sorted(by_length.items())},
            prefills=_curve([(point["tokens"], point["ms"]) for point in table["prefill_ms"]]),
            is_packed=bool(table.get("is_packed", True)),
            codec=_curve([(point["rows"] * point["frames"], point["ms"]) for point in table["codec_ms"]]),
            host_s=float(table["host_ms"]) / 1000,
            begin_s=float(table.get("begin_ms", 0.0)) / 1000,
            codec_hidden=hidden,
        )

    def frame_s(self, n_rows: int, n_attended: int) -> float:
        """A step of n rows, the longest of which attends to so many positions."""
        fitting = {length: curve for length, curve in self.frames.items() if n_rows <= curve[0][-1]}
        if not fitting or n_attended > max(fitting):
            raise TableError(f"the table has no frame of {n_rows} rows and {n_attended} positions; add one")
        times = [_at(curve, n_rows) for curve in fitting.values()]
        return float(np.interp(n_attended, list(fitting), times))

    def prefill_s(self, n_tokens: int) -> float:
        return _at(self.prefills, n_tokens)

    def prefills_s(self, n_tokens: list[int]) -> float:
        """Of segments that are admitted together."""
        return self.prefill_s(sum(n_tokens)) if self.is_packed else sum(map(self.prefill_s, n_tokens))

    def codec_s(self, n_rows: int, n_frames: int) -> float:
        return _at(self.codec, n_rows * n_frames)


def _curve(points: list[tuple[float, float]]) -> Curve:
    """The mean time of each size."""
    times = defaultdict(list)
    for size, ms in points:
        if size <= 0 or ms <= 0:
            raise TableError(f"a point of size {size} takes {ms} ms; both are above 0")
        times[float(size)].append(float(ms))
    if not times:
        raise TableError("a list of points is empty; give at least one point")
    sizes = sorted(times)
    return sizes, [sum(times[size]) / len(times[size]) / 1000 for size in sizes]


def _at(curve: Curve, size: float) -> float:
    sizes, times = curve
    if size > sizes[-1]:
        raise TableError(f"a size of {size} lies beyond the table's largest, {sizes[-1]}; add a point")
    return float(np.interp(size, sizes, times))
