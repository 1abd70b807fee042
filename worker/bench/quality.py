"""`bench quality`: an engine and its peer speak the same sentences, the judges score them, and a report is written."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from time import monotonic
from typing import TYPE_CHECKING, Any

from rich.console import Console

from schemas.errors import MakimaError
from worker.bench import report
from worker.bench.quality_settings import QualityBench
from worker.engine.base import EngineError
from worker.engine.checkpoint.packages import installed
from worker.quality.installed import missing_judges
from worker.quality.sentences import sentences
from worker.settings import Settings
from worker.voices.card import Card
from worker.voices.registry import Registry

if TYPE_CHECKING:
    from worker.bench.quality_peers import Performance, Performer


def run(settings: Settings, languages: list[str], n_sentences: int, against: str | None, out: str | None) -> int:
    """Print the table, and write the JSON where `out` names a file ("-" is stdout; the table goes to stderr then)."""
    try:
        bench = QualityBench(settings, tuple(languages), n_sentences, against)
    except ValueError as error:
        print(f"makima-tts: {error}", file=sys.stderr)
        return 2
    try:
        if (missing := missing_judges()) is not None:
            raise missing
        figures = measure(bench)
        if out is not None:
            report.write(figures, out)
    except (MakimaError, OSError) as error:
        print(f"makima-tts: {error}", file=sys.stderr)
        return 1
    from worker.bench.quality_table import table

    Console(stderr=out == "-", highlight=False).print(table(figures))
    return 0


def measure(bench: QualityBench) -> dict[str, Any]:
    """Speak and judge. Raises MakimaError where nothing can be spoken or judged."""
    from worker.bench.quality_report import language_report
    from worker.quality.judges import Judges, at_judges_rate, versions

    began = monotonic()
    card = Registry.load(bench.settings.voices_dir).get(bench.settings.default_voice)
    lines = {language: sentences(language, bench.n_sentences) for language in bench.languages}
    # Everything is spoken before the judges are loaded, whose threads would delay the first audible sound.
    performances = [(performer.name, _performed(performer, lines, card)) for performer in _performers(bench, card)]
    judges = Judges.load()
    recording = _recording(card)
    reference = None if recording is None else judges.speaker.embedding(at_judges_rate(*recording))
    engines = [
        {
            "engine": name,
            "languages": {
                language: language_report(judges, language, one, reference) for language, one in made.items()
            },
        }
        for name, made in performances
    ]
    return {
        "machine": {
            "cpu": report.processor_name(),
            "system": f"{platform.system()} {platform.release()}",
            "python": platform.python_version(),
            "makima-tts": installed("makima-tts"),
        },
        "judges": versions(),
        "settings": {
            "voice": card.name,
            "has_reference": recording is not None,
            "sentences": bench.n_sentences,
            "against": bench.against,
        },
        "engines": engines,
        "wall_s": round(monotonic() - began, 1),
    }


def _performed(performer: Performer, lines: dict[str, list[str]], card: Card) -> dict[str, Performance]:
    made = performer.perform(lines, card)
    problems = [take.problem for one in made.values() for take in one.takes]
    if all(problems):
        raise EngineError(f"{performer.name} spoke none of the sentences: {problems[0]}")
    return made


def _performers(bench: QualityBench, card: Card) -> Iterator[Performer]:
    """The engine, then its peer, each loaded when its turn comes."""
    from worker.bench.quality_peers import EnginePerformer, UpstreamPerformer
    from worker.engine.choose import make_engine

    settings = bench.settings.model_copy(update={"slots": 1, "pace": None})
    yield EnginePerformer(make_engine(settings))
    if bench.against == "upstream" and settings.model is not None:
        yield UpstreamPerformer(settings.model, settings.device, settings.dtype, card)
    elif bench.against == "espeak-ng":
        yield EnginePerformer(make_engine(settings.model_copy(update={"preview_voices": "espeak-ng"})))


def _recording(card: Card) -> Any:
    """Samples and rate of the card's recording; None where it has none that can be used."""
    from worker.voices.reference import UnusableReference, recording_of

    try:
        recording = recording_of(card)
    except UnusableReference:
        return None
    return recording.audio, recording.rate_hz
