"""Who speaks in `bench quality`: our engine, and beside it upstream's qwen-tts or the preview engine's espeak-ng."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from time import monotonic
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.errors import MakimaError
from worker.engine.base import Engine
from worker.quality.sentences import long_text
from worker.rehearsal import Rehearsal, Spoken
from worker.text import frame_budget
from worker.voices.card import Card

SEED = 7


@dataclass(frozen=True, slots=True)
class Take:
    """One sentence as spoken, or the problem that prevented it. first_audible_ms: None where it is not streamed."""

    text: str
    pcm: NDArray[np.float32]
    seams: tuple[int, ...] = ()
    first_audible_ms: int | None = None
    took_s: float = 0.0
    finish: str | None = None
    model: str | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class TakeOver:
    """A text of several segments, spoken whole and resumed after some of its chunks.

    cuts: the numbers of chunks delivered before each resumption. different_at: for each, the first sample that differs
    from the whole, or None.
    """

    whole: Take
    n_segments: int
    cuts: tuple[int, ...]
    different_at: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Performance:
    """What one peer made of one language. take_over: None for a peer that cannot resume, or where it failed."""

    takes: list[Take]
    take_over: TakeOver | None


class Performer(Protocol):
    """Speaks sentences. name: the column's, as in the table."""

    @property
    def name(self) -> str: ...

    def perform(self, lines: dict[str, list[str]], card: Card) -> dict[str, Performance]:
        """Speak the sentences of each language. Raises EngineError when nothing can be spoken at all."""


class EnginePerformer:
    """An engine of the worker, spoken through the worker's own plan, delivery and audio chain."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def name(self) -> str:
        return self._engine.name

    def perform(self, lines: dict[str, list[str]], card: Card) -> dict[str, Performance]:
        return asyncio.run(self._perform(lines, card))

    async def _perform(self, lines: dict[str, list[str]], card: Card) -> dict[str, Performance]:
        async with Rehearsal(self._engine, [card]) as rehearsal:
            return {
                language: Performance(
                    [await self._take(rehearsal, text, language, card, SEED + n) for n, text in enumerate(texts)],
                    await take_over(rehearsal, long_text(language), language, card),
                )
                for language, texts in lines.items()
            }

    async def _take(self, rehearsal: Rehearsal, text: str, language: str, card: Card, seed: int) -> Take:
        try:
            return _taken(text, await rehearsal.speak(text, language, card, seed))
        except MakimaError as error:
            return Take(text, np.zeros(0, np.float32), problem=str(error))


async def take_over(rehearsal: Rehearsal, text: str, language: str, card: Card) -> TakeOver | None:
    """Speak a text whole and resumed after its first, middle and last but one chunk; None if it cannot be spoken."""
    try:
        whole = await rehearsal.speak(text, language, card, SEED)
        n_chunks = len(whole.chunks)
        cuts = tuple(sorted({n for n in (1, n_chunks // 2, n_chunks - 1) if 0 < n < n_chunks}))
        different = [
            _first_difference(
                whole.pcm,
                (await rehearsal.speak(text, language, card, SEED, replace(whole, chunks=whole.chunks[:n]))).pcm,
            )
            for n in cuts
        ]
    except MakimaError:
        return None
    return TakeOver(_taken(text, whole), len(whole.texts), cuts, tuple(different))


def _first_difference(whole: NDArray[np.float32], other: NDArray[np.float32]) -> int | None:
    n = min(whole.size, other.size)
    unequal = np.flatnonzero(whole[:n] != other[:n])
    if unequal.size:
        return int(unequal[0])
    return None if whole.size == other.size else n


def _taken(text: str, spoken: Spoken) -> Take:
    return Take(text, spoken.pcm, spoken.seams, spoken.first_audible_ms, spoken.took_s, spoken.finish, spoken.model)


class UpstreamPerformer:
    """qwen-tts unchanged, with the same weights, card, sampling and texts; it speaks each text whole."""

    def __init__(self, model: str, device: str, dtype: str, card: Card) -> None:
        from worker.bench.upstream import Upstream, UpstreamClip
        from worker.engine.qwen import loader
        from worker.voices.reference import recording_of

        recording = recording_of(card)
        clip = UpstreamClip(recording.audio, recording.rate_hz, card.transcript if card.mode == "icl" else None)
        self._upstream = Upstream(loader.load(model, device=device, dtype=dtype), clip)

    @property
    def name(self) -> str:
        return "qwen-tts"

    def perform(self, lines: dict[str, list[str]], card: Card) -> dict[str, Performance]:
        return {
            language: Performance(list(self._takes(texts, language, card)), None) for language, texts in lines.items()
        }

    def _takes(self, texts: list[str], language: str, card: Card) -> Iterator[Take]:
        for n, text in enumerate(texts):
            began = monotonic()
            _, pcm = self._upstream.speak(text, language, frame_budget(text, language), (card.sampling, SEED + n))
            yield Take(text, np.asarray(pcm, np.float32), took_s=monotonic() - began, model=self.name)
