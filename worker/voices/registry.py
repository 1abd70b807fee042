"""The voices of a folder, checked together. No voice is ever replaced by another one silently.

A card whose recording cannot be used is no error: it is listed as incomplete, with its problem and remedy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from schemas.errors import ErrorCode, MakimaError
from worker.voices.card import CARD_FILE, Card, CardError, is_voice_name, lies_inside, load_card
from worker.voices.reference import checked

MAX_NAMES_SHOWN = 20


class RegistryError(MakimaError):
    """Cards that cannot be used. problems: one sentence for each, with file, field and remedy."""

    def __init__(self, folder: Path, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join((f"{folder}: {len(problems)} problem(s) with the voices", *problems)))
        self.problems = problems


class UnknownVoice(MakimaError):
    """No card has this name. The remedy lists the known names, at most MAX_NAMES_SHOWN of them."""

    code = ErrorCode.UNKNOWN_VOICE

    def __init__(self, name: str, names: tuple[str, ...]) -> None:
        more = f" and {len(names) - MAX_NAMES_SHOWN} more" if len(names) > MAX_NAMES_SHOWN else ""
        listed = ", ".join(names[:MAX_NAMES_SHOWN]) + more
        super().__init__(f"unknown voice {name[:64]!r}", f"available: {listed or 'none'}")
        self.name = name


@dataclass(frozen=True, slots=True)
class Registry:
    """The cards of a folder by name. Immutable: `reload` returns a new one."""

    folder: Path
    cards: Mapping[str, Card]

    @classmethod
    def load(cls, folder: Path) -> Registry:
        """Read and check every card in `folder`. Raises RegistryError with all problems."""
        cards: dict[str, Card] = {}
        problems: list[str] = []
        for voice in _voice_folders(folder):
            try:
                cards[voice.name] = checked(_card_inside(voice, folder))
            except CardError as error:
                problems.append(str(error))
        if not cards and not problems:
            problems.append(f"{folder}: it has no voices; add <name>/{CARD_FILE}")
        if problems:
            raise RegistryError(folder, tuple(problems))
        return cls(folder, MappingProxyType(cards))

    def reload(self) -> Registry:
        """Read the folder again. Raises RegistryError; the caller keeps this registry then."""
        return Registry.load(self.folder)

    def get(self, name: str) -> Card:
        """The card of this name, complete or not. Raises UnknownVoice."""
        card = self.cards.get(name)
        if card is None:
            raise UnknownVoice(name, self.names)
        return card

    def __iter__(self) -> Iterator[Card]:
        return iter(self.cards.values())

    @property
    def names(self) -> tuple[str, ...]:
        """The voices' names in alphabetical order."""
        return tuple(self.cards)

    @property
    def problems(self) -> dict[str, str]:
        """Problem and remedy of each incomplete voice, by name."""
        return {card.name: card.reference_problem for card in self if card.reference_problem is not None}


def _voice_folders(folder: Path) -> list[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        problem = f"{folder}: it cannot be read ({error.strerror}); set MAKIMA_TTS_VOICES_DIR to the voices' folder"
        raise RegistryError(folder, (problem,)) from error
    return [entry for entry in entries if entry.is_dir() and not entry.name.startswith((".", "__"))]


def _card_inside(voice: Path, folder: Path) -> Card:
    if not is_voice_name(voice.name):
        raise CardError(f"{folder}: {voice.name!r} is not a valid voice name", "use letters, digits and `_.-`")
    if not lies_inside(voice / CARD_FILE, folder):
        raise CardError(f"{voice}: it leads out of the voices' folder", "copy the voice into the folder")
    return load_card(voice)
