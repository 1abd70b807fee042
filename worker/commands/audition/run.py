"""The command: renders every column, writes WAV, PNG and the page."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import soundfile
from rich.console import Console

from schemas.errors import MakimaError
from worker.commands.audition.cast import AuditionRequest, Line, Rendering, renderings
from worker.commands.audition.page import Exhibit, column_name, page
from worker.commands.terminal import complain
from worker.engine.base import SAMPLE_RATE_HZ
from worker.quality.picture import picture
from worker.settings import Settings


def audition(settings: Settings, given: Sequence[tuple[str, ...]], folder: Path) -> int:
    """Write the audition into a folder. given: the fields of AuditionRequest.

    Returns 2 for an option that cannot be, 1 where nothing was spoken or a file cannot be written.
    """
    try:
        request = AuditionRequest(*given)
    except ValueError as error:
        complain(error)
        return 2
    try:
        made = list(renderings(request, settings))
        exhibits = _exhibits(made)
        folder.mkdir(parents=True, exist_ok=True)
        for exhibit in exhibits:
            if exhibit.wav:
                (folder / f"{exhibit.stem}.wav").write_bytes(exhibit.wav)
                (folder / f"{exhibit.stem}.png").write_bytes(exhibit.png)
        (folder / "index.html").write_text(page(exhibits), "utf-8")
    except (MakimaError, OSError) as error:
        complain(error)
        return 1
    for rendering in made:
        if rendering.spoken is None:
            complain(f"{rendering.column.name}, {rendering.line.language}: {rendering.problem}")
    n_spoken = sum(rendering.spoken is not None for rendering in made)
    Console(highlight=False, soft_wrap=True).print(f"wrote {n_spoken} recordings; open {folder / 'index.html'}")
    return 0 if n_spoken else 1


def _exhibits(made: Sequence[Rendering]) -> list[Exhibit]:
    numbers = {line: n for n, line in enumerate(dict.fromkeys(rendering.line for rendering in made), 1)}
    spans: dict[Line, float] = {}
    for one in made:
        if one.spoken is not None:
            spans[one.line] = max(spans.get(one.line, 0.0), one.spoken.pcm.size / SAMPLE_RATE_HZ)
    return [_exhibit(one, f"{numbers[one.line]:02}_{one.line.language}", spans.get(one.line, 0.0)) for one in made]


def _exhibit(rendering: Rendering, prefix: str, span_s: float) -> Exhibit:
    stem = f"{prefix}_{column_name(rendering.column)}"
    spoken = rendering.spoken
    if spoken is None:
        return Exhibit(rendering, stem)
    wav = io.BytesIO()
    soundfile.write(wav, spoken.pcm, SAMPLE_RATE_HZ, subtype="PCM_16", format="WAV")
    return Exhibit(rendering, stem, wav.getvalue(), picture(spoken.pcm, SAMPLE_RATE_HZ, spoken.seams, span_s))
