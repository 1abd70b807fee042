"""Prefill embeddings: from a text and a voice to what the talker reads before its first frame, as upstream builds it.

Every tensor is computed by upstream's operations in upstream's grouping: a matrix product over other rows may round
differently, and then the codes may differ. The part of a prefill that depends on the voice alone is cached.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from worker.engine.base import N_CODEBOOKS, N_CODES, EngineError
from worker.engine.qwen.sampler import MIN_NEW_TOKENS

_NAMES = {  # by ISO 639-1 code
    "de": "german",
    "en": "english",
    "es": "spanish",
    "fr": "french",
    "it": "italian",
    "ja": "japanese",
    "ko": "korean",
    "pt": "portuguese",
    "ru": "russian",
    "zh": "chinese",
}
_KNOWN = frozenset({"auto", *_NAMES.values()})

_LIKE_SPECIAL = r"<\|[^<>|\s]+\|>"
# The tokenizer would join these to the template's newline. \s without the four blanks that only Python counts as such.
_LEADING_NEWLINES = re.compile(r"\A[^\S\x1c-\x1f]*[\r\n]+")


class PromptError(EngineError):
    """A text, language or voice that the model cannot speak."""


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Voice:
    """A cloned voice: the tensors of its prompt. Compared by identity.

    speaker: speaker embedding [D], in the model's dtype. codes: the reference's frames, int64 [n, 16]; an x_vector
    voice has none. transcript: the reference's words. state: the codec decoder's state after the codes. Raises
    ValueError.
    """

    mode: Literal["icl", "x_vector"]
    speaker: Tensor
    codes: Tensor | None = None
    transcript: str | None = None
    state: Mapping[str, Tensor] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        if self.speaker.dim() != 1 or not self.speaker.is_floating_point():
            raise ValueError(f"the speaker embedding is {_shape(self.speaker)}; give one row of floats")
        if self.mode == "icl":
            self._check_reference()
        elif self.mode != "x_vector":
            raise ValueError(f'the mode {self.mode!r} is unknown; use "icl" or "x_vector"')
        elif self.codes is not None:
            raise ValueError('an x_vector voice has no codes; use mode="icl" with a transcript')

    def _check_reference(self) -> None:
        if self.codes is None or not (self.transcript and self.transcript.strip()):
            raise ValueError("an icl voice needs its reference's codes and transcript; without them use x_vector")
        if self.codes.dim() != 2 or self.codes.shape[1] != N_CODEBOOKS or not len(self.codes):
            raise ValueError(f"the reference's codes are {_shape(self.codes)}; give [frames, {N_CODEBOOKS}]")
        if self.codes.dtype != torch.int64:
            raise ValueError(f"the reference's codes are {_shape(self.codes)}; give int64")
        if bool(((self.codes < 0) | (self.codes >= N_CODES)).any()):
            raise ValueError(f"the reference's codes are not all 0 to {N_CODES - 1}; encode the reference again")


@dataclass(frozen=True, slots=True)
class Prefill:
    """The talker's input, in the model's dtype. Read it under torch.inference_mode.

    embeds: [T, D]. trailing: [n, D], pad: [D]; to frame g's input embedding trailing[g] is added, or pad when g >= n.
    """

    embeds: Tensor
    trailing: Tensor
    pad: Tensor

    is_open: ClassVar[bool] = False
    is_ready: ClassVar[bool] = True
    earliest_end: ClassVar[int] = MIN_NEW_TOKENS

    @property
    def n_positions(self) -> int:
        return len(self.embeds)

    @property
    def n_trailing(self) -> int:
        return len(self.trailing)

    def text(self, frame: int) -> Tensor:
        """What is added to a frame's input embedding: [D]."""
        return self.trailing[frame] if frame < len(self.trailing) else self.pad


@dataclass(frozen=True, slots=True)
class ReferencePart:
    """The cached part of a voice's prefills. codec: [1 + n, D], codec bos and the reference's frames."""

    transcript_ids: list[int]
    codec: Tensor
    codec_padded: Tensor  # codec plus the text's pad
    openings: dict[str, Tensor] = field(default_factory=dict)  # by language: [8 or 9, D]


class Prompter:
    """Builds prefills for one Base model. talker, config, tokenizer: upstream's; they are not changed."""

    @torch.inference_mode()
    def __init__(self, talker: Any, config: Any, tokenizer: Any) -> None:
        self._config = config.talker_config
        self.tokenizer = tokenizer
        self._special = _special_tokens(tokenizer)
        self._text_embedding = talker.get_text_embeddings()
        self._text_projection = talker.text_projection
        self._codec_embeddings = (talker.get_input_embeddings(), *talker.code_predictor.get_input_embeddings())
        self._references: WeakKeyDictionary[Voice, ReferencePart] = WeakKeyDictionary()
        marks = self.embed_text([config.tts_bos_token_id, config.tts_eos_token_id, config.tts_pad_token_id])
        self._bos, self.eos, self.pad = marks.chunk(3)  # [1, D] each
        self._role = self.embed_text(self._tokenise(_utterance("."))[:3])
        self._codec_pad = self._codec([self._config.codec_pad_id])
        self._codec_bos = self._codec([self._config.codec_bos_id])
        self._eos_padded = self.eos + self._codec_pad

    @torch.inference_mode()
    def build(self, text: str, language: str, voice: Voice, whole_text: bool) -> Prefill:
        """The prefill of one text.

        text: special tokens and leading newlines are removed, as they would shift upstream's slices. language: see
        language_name. whole_text: upstream's non_streaming_mode; else one token of text is read with each frame.
        Raises PromptError for a text that is empty then, and for a language or voice of another model.
        """
        opening, reference = self.parts(language, voice)
        ids = self._tokenise(_utterance(self.plain(text)))[3:-5]
        if whole_text:
            spoken = self.embed_text(reference.transcript_ids + ids) + self._codec_pad
            embeds = torch.cat((opening, spoken, self._eos_padded, reference.codec_padded))
            return Prefill(embeds, self.pad[:0], self.pad[0])
        if voice.mode == "icl":
            hidden = torch.cat((self.embed_text(reference.transcript_ids + ids), self.eos))
        else:
            hidden = torch.cat((self.embed_text(ids[:1]), self.embed_text(ids[1:]), self.eos))
        n_read = min(len(hidden), len(reference.codec))  # text tokens read beside codec frames before the first frame
        read = hidden[:n_read] + reference.codec[:n_read]
        embeds = torch.cat((opening, read, reference.codec_padded[n_read:]))
        return Prefill(embeds, hidden[n_read:], self.pad[0])

    def parts(self, language: str, voice: Voice) -> tuple[Tensor, ReferencePart]:
        """The parts of a prefill that its text does not change: the rows before the text, and the reference."""
        language = self._checked(language)
        reference = self._reference(voice)
        return self._opening(voice, reference, language), reference

    def plain(self, text: str, has_words: bool = True) -> str:
        """The text without special tokens and leading newlines. Raises PromptError unless it has_words then."""
        return self._plain(text, "text", has_words)

    def _checked(self, language: str) -> str:
        name = language_name(language)
        known = self._config.codec_language_id
        if name != "auto" and name not in known:
            raise PromptError(f"this model does not speak {name}", f"use one of {', '.join(['auto', *sorted(known)])}")
        return name

    def _reference(self, voice: Voice) -> ReferencePart:
        if voice not in self._references:
            width = self.pad.shape[1]
            if len(voice.speaker) != width:
                raise PromptError(
                    f"the voice's speaker embedding has {len(voice.speaker)} numbers and this model's have {width}, so "
                    "it was made with another model",
                    "make it again from its recording",
                )
            self._references[voice] = self._new_reference(voice)
        return self._references[voice]

    def _new_reference(self, voice: Voice) -> ReferencePart:
        if voice.codes is None or voice.transcript is None:
            return ReferencePart([], self._codec_bos, self._codec_bos + self.pad)
        codes = voice.codes.to(self.pad.device)
        tables = zip(self._codec_embeddings, codes.unbind(1), strict=True)
        frames = torch.stack([table(column) for table, column in tables], dim=1).sum(1)
        codec = torch.cat((self._codec_bos, frames))
        transcript = self._plain(voice.transcript, "reference's transcript")
        return ReferencePart(self._tokenise(_spoken_before(transcript))[3:-2], codec, codec + self.pad)

    def _opening(self, voice: Voice, reference: ReferencePart, language: str) -> Tensor:
        """Role, language tags, speaker, and the start of the text: [8 or 9, D]."""
        if language not in reference.openings:
            config = self._config
            tags = [config.codec_nothink_id, config.codec_think_bos_id, config.codec_think_eos_id]
            if language != "auto":
                tags = [config.codec_think_id, tags[1], config.codec_language_id[language], tags[2]]
            speaker = voice.speaker.to(self.pad.device).to(self.pad.dtype)[None]
            padded = torch.cat((self._codec(tags), speaker)) + self.pad
            reference.openings[language] = torch.cat((self._role, padded, self._bos + self._codec_pad))
        return reference.openings[language]

    def embed_text(self, ids: list[int]) -> Tensor:
        """The embeddings of text tokens: [n, D]."""
        hidden: Tensor = self._text_projection(self._text_embedding(self._on_device(ids)))
        return hidden

    def _codec(self, ids: list[int]) -> Tensor:
        embedded: Tensor = self._codec_embeddings[0](self._on_device(ids))
        return embedded

    def _on_device(self, ids: list[int]) -> Tensor:
        # A blocking copy would wait for the steps queued on the device.
        return torch.tensor(ids, dtype=torch.int64).to(self._text_embedding.weight.device, non_blocking=True)

    def _tokenise(self, templated: str) -> list[int]:
        ids: list[int] = self.tokenizer(templated)["input_ids"]
        return ids

    def _plain(self, text: str, what: str, has_words: bool = True) -> str:
        """The text without special tokens and leading newlines. Removing one token may form another."""
        if not text.isascii():
            _check_unicode(text, what)
        n_found = 1
        while n_found:
            text, n_found = self._special.subn("", text)
        text = _LEADING_NEWLINES.sub("", text)
        if has_words and not text.strip():
            raise PromptError(f"the {what} holds only special tokens and blanks", "send letters or digits")
        return text


def language_name(language: str) -> str:
    """Upstream's lower-case name of a language, from its English name, its ISO 639-1 code, or "auto".

    Upper and lower case are equal, and a code may name a region, as in en-US. Raises PromptError for other languages.
    """
    given = language.strip().lower()
    if given in _KNOWN:
        return given
    code = re.split("[-_]", given, maxsplit=1)[0]
    if code not in _NAMES:
        known = ", ".join(f"{name} ({code})" for code, name in _NAMES.items())
        raise PromptError(f"the language {language!r} is unknown", f"use auto or one of {known}")
    return _NAMES[code]


def _spoken_before(transcript: str) -> str:
    return f"<|im_start|>assistant\n{transcript}<|im_end|>\n"


def _utterance(text: str) -> str:
    return f"{_spoken_before(text)}<|im_start|>assistant\n"


def _special_tokens(tokenizer: Any) -> re.Pattern[str]:
    """Matches the texts that the tokenizer reads as one special token anywhere; plain words are left out."""
    tokens = {*tokenizer.get_added_vocab(), *tokenizer.all_special_tokens}
    marked = sorted((token for token in tokens if not token.isalnum()), key=len, reverse=True)
    return re.compile("|".join([*map(re.escape, marked), _LIKE_SPECIAL]))


def _check_unicode(text: str, what: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PromptError(
            f"the {what} holds half a character (a lone surrogate) at {error.start}", "send UTF-8"
        ) from None


def _shape(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
