"""A voice's card: the contents of `voices/<name>/voice.toml`, read without opening the recording.

Raises CardError, which names the file, the field and the remedy. A missing or unusable recording is no error of the
card: `worker.voices.reference` checks it, and the card holds the result.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from schemas import jobs
from schemas.errors import MakimaError
from worker.text.boundary import Rank
from worker.text.directions import Actions
from worker.text.lexicon import Lexicon
from worker.text.pauses import boundary_after
from worker.voices import card_help

CARD_FILE = "voice.toml"
MAX_CARD_BYTES = 256 * 1024
LANGUAGES = tuple(language for language in jobs.LANGUAGES if language != "Auto")
MAX_PROBLEMS_SHOWN = 20
_KEY = r"(?:[A-Za-z0-9_-]+|\"[^\"\n]*\"|'[^'\n]*')"
_DEEP_KEY = re.compile(rf"(?<![A-Za-z0-9_-]){_KEY}(?:[ \t]*\.[ \t]*{_KEY}){{16}}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_ESPEAK_VOICE = re.compile(r"[A-Za-z][A-Za-z0-9+_-]{0,31}")

Text = Annotated[str, Field(min_length=1, max_length=4000)]


class CardError(MakimaError):
    """A voice.toml that cannot be used. The problem names the file and the field."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class VoiceSampling(_Part):
    """Sampling of the speech model's codes. A job's temperature overrides the card's."""

    temperature: float = Field(0.9, ge=0.0, le=2.0)
    top_k: int = Field(50, ge=1, le=2048)
    top_p: float = Field(1.0, gt=0.0, le=1.0)
    repetition_penalty: float = Field(1.05, ge=1.0, le=2.0)


class Preview(_Part):
    """How the preview engine (espeak-ng) imitates the voice.

    pitch: 0 to 99, espeak-ng's default is 50. rate_wpm: words per minute, 80 to 450.
    espeak_voices: espeak-ng voices other than a language's default, {"English": "en-us+f3"}.
    """

    pitch: int = Field(50, ge=0, le=99)
    rate_wpm: int = Field(175, ge=80, le=450)
    espeak_voices: dict[str, str] = Field(default_factory=dict)

    @field_validator("espeak_voices")
    @classmethod
    def _known(cls, voices: dict[str, str]) -> dict[str, str]:
        for language, voice in voices.items():
            if language not in LANGUAGES:
                raise ValueError(f"{language!r} is not a known language; use one of {', '.join(LANGUAGES)}")
            if not _ESPEAK_VOICE.fullmatch(voice):
                raise ValueError(f"{voice!r} is not an espeak-ng voice name; use one such as `ja`, `en-us` or `en+f3`")
        return voices


class Pauses(_Part):
    """The silence between two segments, by the mark at the first one's end. 0: as short as between two words."""

    sentence_ms: int = Field(300, ge=0, le=2000)
    clause_ms: int = Field(120, ge=0, le=2000)

    def after(self, text: str) -> int:
        """The milliseconds of silence after a segment of this text; 0 where it ends without a mark."""
        match boundary_after(text):
            case Rank.SENTENCE:
                return self.sentence_ms
            case Rank.CLAUSE:
                return self.clause_ms
            case _:
                return 0


class Card(_Part):
    """A voice: its name, languages, reference recording and settings.

    folder: of voice.toml. reference: the recording's path relative to it, or None. mode: "icl" speaks from transcript
    and recording, "x_vector" from the speaker embedding alone (no transcript needed). actions: "skip" leaves out
    *actions* that stand between sentences, "speak" does not. text: "whole" reads a segment's text before its first
    frame, "streaming" one token with each frame, while the text may still be written. reference_problem: problem and
    remedy of a recording that cannot be used, or None. reference_warnings: what would improve the recording. The
    registry sets both; they are never read from the file.
    """

    name: str
    description: str = ""
    languages: tuple[str, ...] = Field(min_length=1, strict=False)
    mode: Literal["icl", "x_vector"] = "icl"
    reference: str | None = Field(None, max_length=255)
    reference_sha256: str | None = None
    transcript: Text | None = None
    sampling: VoiceSampling = Field(default_factory=VoiceSampling)
    lexicon: dict[str, str] = Field(default_factory=dict)
    licence: Text
    consent: Text
    pauses: Pauses = Field(default_factory=Pauses)
    actions: Actions = "speak"
    text: Literal["whole", "streaming"] = "whole"
    preview: Preview = Field(default_factory=Preview)
    folder: Path
    reference_problem: str | None = None
    reference_warnings: tuple[str, ...] = ()

    @property
    def reference_path(self) -> Path | None:
        """The path of the recording, which may be missing; None when the card has none."""
        return None if self.reference is None else self.folder / self.reference

    @property
    def complete(self) -> bool:
        """Whether the speech model can speak this voice. The preview engine speaks every voice."""
        return self.reference_problem is None

    @property
    def status(self) -> Literal["ready", "incomplete"]:
        return "ready" if self.complete else "incomplete"

    @field_validator("name")
    @classmethod
    def _usable_name(cls, name: str) -> str:
        if not is_voice_name(name):
            raise ValueError("use 1 to 64 letters, digits, `_`, `-` and `.`, beginning with a letter or digit")
        return name

    @field_validator("languages")
    @classmethod
    def _spoken_languages(cls, languages: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [language for language in languages if language not in LANGUAGES]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is not a known language; use {', '.join(LANGUAGES)}")
        if len(set(languages)) != len(languages):
            raise ValueError("a language is named twice; remove one")
        return languages

    @field_validator("reference")
    @classmethod
    def _inside_the_folder(cls, reference: str | None) -> str | None:
        if reference is None:
            return None
        path = PurePosixPath(reference)
        if "\\" in reference:
            raise ValueError("write / between folders; name a file inside the voice's own folder")
        odd = not reference.isprintable()
        if odd or not path.name or path.is_absolute() or ".." in path.parts:
            raise ValueError("name a file inside the voice's own folder, such as reference.wav")
        return reference

    @field_validator("transcript", "licence", "consent")
    @classmethod
    def _with_words(cls, text: str | None) -> str | None:
        if text is not None and not any(char.isalnum() for char in text):
            raise ValueError("it has no words; write them, or remove the field")
        return text

    @field_validator("reference_sha256")
    @classmethod
    def _hex_digest(cls, digest: str | None) -> str | None:
        if digest is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", digest):
            raise ValueError("give the 64 hex digits that `sha256sum` prints")
        return None if digest is None else digest.lower()

    @field_validator("lexicon")
    @classmethod
    def _words_to_replace(cls, lexicon: dict[str, str]) -> dict[str, str]:
        if any(not word.strip() for word in lexicon):
            raise ValueError("an entry has an empty word; write the word to replace")
        Lexicon(lexicon)  # raises for a word that cleaning removes from every text, such as an emoji
        return lexicon

    @model_validator(mode="after")
    def _named_like_its_folder(self) -> Self:
        if self.folder.name != self.name:
            raise ValueError(f"name is {self.name!r} but the folder is {self.folder.name!r}; make them equal")
        return self


def is_voice_name(name: str) -> bool:
    """Whether this is a valid name of a voice and of its folder."""
    return _NAME.fullmatch(name) is not None


def load_card(folder: Path) -> Card:
    """Read `folder`/voice.toml and check the recording's path. Raises CardError."""
    file = folder / CARD_FILE
    card = _validated(file, _table(file) | {"folder": folder.absolute()})
    if card.reference is not None:
        card = card.model_copy(update={"reference": _as_on_disk(folder, card.reference)})
    if card.reference_path is not None and not lies_inside(card.reference_path, folder):
        raise CardError(
            f"{file}: reference: {card.reference!r} leads out of the voice's folder", "copy the file into it"
        )
    return card


def lies_inside(path: Path, folder: Path) -> bool:
    """Whether a path stays in a folder after symbolic links are followed. Neither needs to exist."""
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # a loop of symbolic links
        return False


def _as_on_disk(folder: Path, reference: str) -> str:
    """The path in the Unicode form that the file's name has: macOS and some archives take accents apart."""
    forms = [reference, *(unicodedata.normalize(form, reference) for form in ("NFC", "NFD"))]
    return next((form for form in forms if (folder / form).is_file()), reference)


def _table(file: Path) -> dict[str, object]:
    text = _text(file)
    try:
        if _DEEP_KEY.search(text):  # tomllib's time and memory grow with the cube of a key's parts
            raise CardError(f"{file}: a key has more than 16 parts", "write each table under its own [name]")
        table: dict[str, object] = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits is a plain ValueError
        raise CardError(
            f"{file}: not valid TOML: {_shortened(str(error))}", card_help.remedy_of(text, str(error))
        ) from error
    for name in ("folder", "reference_problem", "reference_warnings"):
        if name in table:
            raise CardError(f"{file}: {name}: it is not a field of a card", "remove it")
    return table


def _text(file: Path) -> str:
    try:
        if file.exists() and not file.is_file():
            raise CardError(f"{file}: it is not a regular file", "replace it by one")
        if file.stat().st_size > MAX_CARD_BYTES:
            raise CardError(f"{file}: it is larger than {MAX_CARD_BYTES // 1024} KiB", "keep only text in a card")
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise CardError(f"{file}: not found", f"add a {CARD_FILE} to the voice's folder") from error
    except OSError as error:
        raise CardError(f"{file}: cannot be read ({error.strerror})", "check its permissions") from error
    except UnicodeDecodeError as error:
        raise CardError(f"{file}: not UTF-8", card_help.encoding_remedy(file.read_bytes())) from error
    if "\0" in text:
        raise CardError(f"{file}: not UTF-8", "it is UTF-16; save it as UTF-8")
    return text


def _validated(file: Path, table: dict[str, object]) -> Card:
    try:
        return Card.model_validate(table)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
        n_more = len(problems) - MAX_PROBLEMS_SHOWN
        words = [_in_words(one) for one in problems[:MAX_PROBLEMS_SHOWN]] + [f"and {n_more} more"] * (n_more > 0)
        raise CardError(f"{file}: {'; '.join(words)}") from error


def _in_words(problem: ErrorDetails) -> str:
    field = _shortened(".".join(map(str, problem["loc"]))) or "card"
    words = f"{field}: {_shortened(problem['msg'].removeprefix('Value error, '))}"
    if problem["type"] == "literal_error" and field in card_help.VALUE_REMEDIES:
        return f"{words} ({card_help.VALUE_REMEDIES[field]})"
    if problem["type"] != "extra_forbidden":
        return words
    *table, name = map(str, problem["loc"])
    part = Card.model_fields[table[0]].annotation if table else Card
    fields = part.model_fields if isinstance(part, type) and issubclass(part, BaseModel) else ()
    remedy = card_help.field_remedy(name, bool(table), fields, Card.model_fields)
    return f"{words} ({remedy})" if remedy else words


def _shortened(text: str) -> str:
    """The text, without its middle above 300 characters."""
    return text if len(text) <= 300 else f"{text[:150]} … {text[-150:]}"
