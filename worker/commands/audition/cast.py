"""Who speaks in an audition, and what each of them made of the texts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from schemas.errors import MakimaError
from worker.engine.choose import make_engine
from worker.quality.sentences import long_text, sentences
from worker.rehearsal import Rehearsal, Spoken
from worker.settings import Settings
from worker.text.language import language_of_auto
from worker.voices.card import LANGUAGES, Card
from worker.voices.registry import Registry

ENGINES = ("auto", "preview", "espeak-ng", "qwen")  # espeak-ng: the preview engine with its plain voices
MODES = ("icl", "x_vector")
SEED = 7
N_SENTENCES = 3


@dataclass(frozen=True, slots=True)
class AuditionRequest:
    """What to speak. Empty: the settings' engine and voice, the card's mode and languages, our own sentences.

    Raises ValueError.
    """

    engines: tuple[str, ...] = ()
    voices: tuple[str, ...] = ()
    modes: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        known = {
            "engine": (self.engines, ENGINES),
            "mode": (self.modes, MODES),
            "language": (self.languages, LANGUAGES),
        }
        for flag, (given, choices) in known.items():
            for word in given:
                if word not in choices:
                    raise ValueError(f"--{flag} is {word!r}; use {', '.join(choices)}")


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the audition."""

    engine: str
    card: Card

    @property
    def name(self) -> str:
        return f"{self.card.name} · {self.engine} · {self.card.mode}"


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the audition."""

    language: str
    text: str


@dataclass(frozen=True, slots=True)
class Rendering:
    """A line as one column spoke it, or the problem that prevented it."""

    column: Column
    line: Line
    spoken: Spoken | None
    problem: str = ""


def lines_of(request: AuditionRequest, cards: Sequence[Card]) -> list[Line]:
    """The request's texts, or a few sentences and a text of several segments, in each language.

    Without languages in the request, each of its texts is in the language that its script and the cards name.
    """
    languages = request.languages or tuple(dict.fromkeys(language for card in cards for language in card.languages))
    if request.texts and not request.languages:
        return [Line(language_of_auto(text, languages), text) for text in request.texts]
    return [
        Line(language, text)
        for language in languages
        for text in request.texts or (*sentences(language, N_SENTENCES), long_text(language))
    ]


def cards_of(request: AuditionRequest, settings: Settings) -> list[Card]:
    """The cards of the request's voices in its modes. Raises UnknownVoice, RegistryError."""
    registry = Registry.load(settings.voices_dir)
    cards = [registry.get(name) for name in request.voices or (settings.default_voice,)]
    return [card.model_copy(update={"mode": mode}) for card, mode in product(cards, request.modes)] or cards


def renderings(request: AuditionRequest, settings: Settings) -> Iterator[Rendering]:
    """Every line of every column. Raises MakimaError for an engine that cannot be loaded."""
    cards = cards_of(request, settings)
    lines = lines_of(request, cards)
    for engine in request.engines or (settings.engine,):
        update = {"slots": 1, "pace": None, "engine": "preview" if engine == "espeak-ng" else engine}
        if engine == "espeak-ng":
            update["preview_voices"] = engine
        chosen = settings.model_copy(update=update)
        yield from asyncio.run(_render(chosen, cards, lines))


async def _render(settings: Settings, cards: Sequence[Card], lines: Sequence[Line]) -> list[Rendering]:
    made = []
    for card in cards:  # an engine each: two modes of a voice have one name
        engine = make_engine(settings)
        async with Rehearsal(engine, [card]) as rehearsal:
            for line in lines:
                column = Column(engine.name, card)
                try:
                    spoken = await rehearsal.speak(line.text, line.language, card, SEED)
                    made.append(Rendering(column, line, spoken))
                except MakimaError as error:
                    made.append(Rendering(column, line, None, str(error)))
    return made
