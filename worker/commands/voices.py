"""`voices list` and `voices check`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from worker.commands.terminal import complain, foreign, table_console
from worker.quality.installed import missing_judges
from worker.settings import Settings
from worker.voices.card import Card
from worker.voices.registry import Registry, RegistryError

if TYPE_CHECKING:
    from worker.quality.judges import Judges


def show(settings: Settings, as_json: bool) -> int:
    """Print every card of the folder with its status; 1 when a card cannot be read."""
    registry = _registry(settings)
    if registry is None:
        return 1
    if as_json:
        rows = [
            {
                "name": card.name,
                "status": card.status,
                "languages": list(card.languages),
                "mode": card.mode,
                "is_default": card.name == settings.default_voice,
                "problem": card.reference_problem,
                "warnings": list(card.reference_warnings),
            }
            for card in registry
        ]
        print(json.dumps(rows))
        return 0
    table = Table("voice", "status", "languages", "mode", "recording")
    for card in registry:
        name = f"{card.name} (default)" if card.name == settings.default_voice else card.name
        found = [card.reference_problem] if card.reference_problem else card.reference_warnings
        table.add_row(name, card.status, ", ".join(card.languages), card.mode, Text("\n").join(map(foreign, found)))
    table_console().print(table)
    return 0


def check(settings: Settings, is_judged: bool | None = None) -> int:
    """Check every card and recording. Returns 1 for one that cannot be used; warnings do not count.

    is_judged: whether models judge what the recordings say; None where they are installed. Raises JudgeError.
    """
    registry = _registry(settings)
    if registry is None:
        return 1
    judges = _judges(is_judged) if any(card.complete for card in registry) else None
    for card in registry:
        print(f"{card.name}: {card.status}" + (f": {card.reference_problem}" if card.reference_problem else ""))
        for warning in card.reference_warnings + (_judged(judges, card) if judges and card.complete else ()):
            print(f"{card.name}: warning: {warning}")
    return 0 if all(card.complete for card in registry) else 1


def _judges(is_judged: bool | None) -> Judges | None:
    if is_judged is False or (is_judged is None and missing_judges() is not None):
        return None
    from worker.quality.judges import Judges

    return Judges.load()


def _judged(judges: Judges, card: Card) -> tuple[str, ...]:
    from worker.quality.recording import recording_warnings
    from worker.voices.reference import recording_of

    return tuple(recording_warnings(judges, card, recording_of(card)))


def _registry(settings: Settings) -> Registry | None:
    try:
        return Registry.load(settings.voices_dir)
    except RegistryError as error:
        complain("\n".join(error.problems))
        return None
