"""The options of `bench quality`, checked before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from worker.quality.recogniser import CODES
from worker.quality.sentences import MAX_SENTENCES
from worker.settings import Settings

Against = Literal["upstream", "espeak-ng"]
AGAINST: tuple[Against, ...] = ("upstream", "espeak-ng")
LANGUAGES = ("English", "Japanese")


@dataclass(frozen=True, slots=True)
class QualityBench:
    """settings: engine, model and voice. against: the peer that speaks the same, or None. Raises ValueError."""

    settings: Settings
    languages: tuple[str, ...] = LANGUAGES
    n_sentences: int = MAX_SENTENCES
    against: str | None = None

    def __post_init__(self) -> None:
        for language in self.languages:
            if language not in CODES:
                raise ValueError(f"no judge understands {language!r}; use {', '.join(CODES)}")
        if len(set(self.languages)) != len(self.languages):
            raise ValueError("--language names a language twice; name it once")
        if not 1 <= self.n_sentences <= MAX_SENTENCES:
            raise ValueError(f"--sentences is {self.n_sentences}; give 1 to {MAX_SENTENCES}")
        if self.against not in (None, *AGAINST):
            raise ValueError(f"--against is {self.against!r}; use {' or '.join(AGAINST)}")
        if self.against == "upstream" and (self.settings.engine != "qwen" or self.settings.model is None):
            raise ValueError("--against upstream speaks the same model with qwen-tts; add --engine qwen --model DIR")
        if self.against == "espeak-ng" and self.settings.engine != "preview":
            raise ValueError("--against espeak-ng compares two preview voices; add --engine preview")
