"""The table of `bench quality`: a column for each engine, a block of rows for each language."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from rich.table import Table
from rich.text import Text

MAX_WRONG = 8
Figures = dict[str, Any]


def table(report: Figures) -> Table:
    """The report of `measure` as a table."""
    engines = report["engines"]
    shown = Table("", *(engine["engine"] for engine in engines))
    for language in engines[0]["languages"]:
        shown.add_section()
        columns = [engine["languages"][language] for engine in engines]
        shown.add_row(Text(language, "bold"), *(f"{one['spoken']} of {one['sentences']} sentences" for one in columns))
        for name, cell in ROWS.items():
            shown.add_row(name, *(Text(cell(one) if one["spoken"] else "") for one in columns))
        shown.add_row("take-over", *(Text(_take_over(one["take_over"])) for one in columns))
    return shown


def _words(one: Figures) -> str:
    words = one["words"]
    if not words["judged"]:
        return f"cannot be judged: {words['reason']}"
    return f"{words['error_rate']:.1%} of {one['compared']}"


def _wrong(one: Figures) -> str:
    return ", ".join(_pairs(one["words"].get("wrong", [])))


def _pairs(wrong: list[Figures]) -> Iterator[str]:
    for pair in wrong[:MAX_WRONG]:
        times = f" ×{pair['times']}" if pair["times"] > 1 else ""
        yield f"{pair['expected'] or '+'} → {pair['recognised'] or '–'}{times}"
    if len(wrong) > MAX_WRONG:
        yield f"and {len(wrong) - MAX_WRONG} more"


def _mean(figures: Figures | None) -> str:
    return "–" if figures is None else f"{figures['mean']:.2f} (lowest {figures['min']:.2f})"


def _silence(name: str) -> Callable[[Figures], str]:
    def cell(one: Figures) -> str:
        figures = one["silence_ms"][name]
        return f"{figures['median']:.0f} ms (longest {figures['max']:.0f})"

    return cell


def _faults(one: Figures) -> str:
    return f"{one['clicks']} clicks, {one['holes']} holes, {one['clipped']} clipped"


def _first(one: Figures) -> str:
    figures = one["first_audible_ms"]
    return "–" if figures is None else f"{figures['median']:.0f} ms (longest {figures['max']:.0f})"


def _take_over(figures: Figures | None) -> str:
    if figures is None:
        return "–"
    faults = f"{figures['clicks_at_seams']} clicks and {figures['holes_at_seams']} holes at seams"
    outcome = "equal samples" if figures["equal"] else f"samples differ at {figures['different_at']}"
    return f"{outcome} of {figures['segments']} segments; {faults}"


ROWS: dict[str, Callable[[Figures], str]] = {
    "spoken by": lambda one: ", ".join(one["models"]),
    "wrong": _words,
    "which": _wrong,
    "MOS": lambda one: _mean(one["mos"]),
    "DNSMOS overall": lambda one: _mean(one["dnsmos"]["overall"]),
    "likeness to the reference": lambda one: _mean(one["similarity"]["to_reference"]),
    "likeness of sentences": lambda one: _mean(one["similarity"]["between_sentences"]),
    "a second": lambda one: f"{one['units_per_s']} {one['compared']}",
    "silence before": _silence("leading"),
    "silence after": _silence("trailing"),
    "longest pause": _silence("longest_pause"),
    "faults": _faults,
    "first audible sound": _first,
}
