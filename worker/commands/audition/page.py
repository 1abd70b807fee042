"""The page of an audition: one HTML file that holds every sound and picture and names no other resource."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from worker.commands.audition.cast import Column, Line, Rendering
from worker.engine.base import SAMPLE_RATE_HZ
from worker.quality.samples import examine


@dataclass(frozen=True, slots=True)
class Exhibit:
    """A rendering with its files. wav and png are their bytes, empty where nothing was spoken."""

    rendering: Rendering
    stem: str
    wav: bytes = b""
    png: bytes = b""


STYLE = """
:root { color-scheme: light dark; --back: #f6f7f9; --card: #fff; --text: #1a1f29; --dim: #5c6675; --line: #dde1e7; }
@media (prefers-color-scheme: dark) {
  :root { --back: #0d1017; --card: #161b25; --text: #e4e8ef; --dim: #93a0b2; --line: #2a3241; }
}
* { box-sizing: border-box; }
body { margin: 0; padding: 2rem; background: var(--back); color: var(--text); font: 16px/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.6rem; }
h2 { margin: 2.2rem 0 .2rem; font-size: 1.05rem; font-weight: 600; }
h2 small { margin-right: .6rem; color: var(--dim); font-weight: 400; }
.legend { margin: .4rem 0 0; color: var(--dim); }
.row { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(30rem, 100%), 1fr)); }
figure { margin: .6rem 0 0; padding: .9rem; background: var(--card); border: 1px solid var(--line); }
figure { border-radius: 10px; }
figcaption { margin-bottom: .6rem; font-weight: 600; }
img { display: block; width: 100%; height: auto; border-radius: 6px; }
audio { display: block; width: 100%; margin: .7rem 0; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); gap: .5rem 1rem; margin: 0; }
dt { color: var(--dim); font-size: .8rem; }
dd { margin: 0; font-variant-numeric: tabular-nums; }
.problem { margin: 0; color: #d1242f; }
.onset { color: #ff5c5c; } .border { color: #c99a1e; }
"""


def page(exhibits: Sequence[Exhibit]) -> str:
    """The HTML document: a section for each line, in which the columns stand side by side."""
    lines: dict[Line, list[Exhibit]] = {}
    for exhibit in exhibits:
        lines.setdefault(exhibit.rendering.line, []).append(exhibit)
    sections = "\n".join(_section(line, shown) for line, shown in lines.items())
    voices = dict.fromkeys(exhibit.rendering.column.card.name for exhibit in exhibits)
    title = f"Audition of {escape(' and '.join(voices))}"
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{STYLE}</style>
<h1>{title}</h1>
<p class="legend">Waveform above spectrogram; pictures of one line have one time scale.
<span class="onset">│</span> first audible sound, <span class="border">┊</span> border of two segments.</p>
{sections}
</html>
"""


def _section(line: Line, exhibits: Sequence[Exhibit]) -> str:
    figures = "\n".join(map(_figure, exhibits))
    return f'<h2><small>{escape(line.language)}</small>{escape(line.text)}</h2>\n<div class="row">\n{figures}\n</div>'


def _figure(exhibit: Exhibit) -> str:
    rendering = exhibit.rendering
    caption = f"<figcaption>{escape(rendering.column.name)}</figcaption>"
    if rendering.spoken is None:
        return f'<figure>{caption}<p class="problem">{escape(rendering.problem)}</p></figure>'
    png, wav = (b64encode(data).decode("ascii") for data in (exhibit.png, exhibit.wav))
    alt = f"Waveform and spectrogram of {escape(exhibit.stem)}"
    rows = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in _figures(rendering).items())
    return (
        f'<figure>{caption}<img alt="{alt}" src="data:image/png;base64,{png}">'
        f'<audio controls preload="metadata" src="data:audio/wav;base64,{wav}"></audio><dl>{rows}</dl></figure>'
    )


def _figures(rendering: Rendering) -> dict[str, str]:
    spoken = rendering.spoken
    assert spoken is not None
    found = examine(spoken.pcm, SAMPLE_RATE_HZ, spoken.seams)
    return {
        "spoken by": escape(spoken.model),
        "length": f"{spoken.pcm.size / SAMPLE_RATE_HZ:.2f} s",
        "first audible after": f"{spoken.first_audible_ms} ms",
        "silence before": f"{found.leading_ms:.0f} ms",
        "silence after": f"{found.trailing_ms:.0f} ms",
        "longest pause": f"{found.longest_pause_ms:.0f} ms",
        "segments": str(len(spoken.texts)),
        "clicks, holes": f"{len(found.clicks)}, {len(found.holes)}",
        "ended by": escape(spoken.finish),
    }


def column_name(column: Column) -> str:
    """The column's name as a piece of a file name."""
    return "".join(char if char.isalnum() or char in "._" else "-" for char in column.name.replace(" · ", "_"))
