"""Greedy codes are upstream's: alone, in a batch, joining one, in a used slot, and up to a natural end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.qwen.exact import (
    GREEDY,
    SIXTY,
    Codes,
    Ties,
    decoded,
    every_kind,
    sixteen_bits,
    upstream_codes,
    voices,
)
from worker.engine.qwen import EngineError, Event, Finish, PromptError, QwenEngine, SpeechRequest, SpeechResult

N_FRAMES = 8
SLOTS = 8


@pytest.fixture(scope="module")
def engine(tiny: Path) -> QwenEngine:
    return QwenEngine.load(str(tiny), device="cpu", dtype="float32", slots=SLOTS)


@pytest.fixture(scope="module")
def utterances(engine: QwenEngine) -> list[SpeechRequest]:
    return every_kind(engine, N_FRAMES)


@pytest.fixture(scope="module")
def wanted(upstream: Any, utterances: list[SpeechRequest]) -> list[Codes]:
    return upstream_codes(upstream, utterances)


@pytest.fixture(scope="module")
def alone(engine: QwenEngine, utterances: list[SpeechRequest]) -> list[SpeechResult]:
    return [engine.synthesize([utterance])[0] for utterance in utterances]


def named(utterance: SpeechRequest) -> str:
    text = "whole" if utterance.whole_text else "per frame"
    return f"{utterance.voice.mode}, {text}, {utterance.language}, {len(utterance.text)} characters"


def as_speech(events: Sequence[Event]) -> SpeechResult:
    """What a stream gave of one utterance; without margins, so no tie is excused in it."""
    last = events[-1].finish
    assert last is not None
    assert all(event.finish is None for event in events[:-1])
    codes, pcm = (np.concatenate(parts) for parts in zip(*(event[1:3] for event in events), strict=True))
    return SpeechResult(codes, pcm, last, seed=1, margins=np.full(codes.shape, np.inf, np.float32))


def test_alone_every_kind_of_utterance_is_spoken_as_upstream_speaks_it(
    alone: list[SpeechResult], utterances: list[SpeechRequest], wanted: list[Codes], ties: Ties
) -> None:
    for utterance, speech, codes in zip(utterances, alone, wanted, strict=True):
        ties.same(speech, codes, named(utterance))
        assert (speech.finish, speech.seed) == (Finish.LENGTH, 1)
    assert len({codes.tobytes() for codes in wanted}) == len(wanted)  # each text, language, voice and mode is heard


def test_in_a_full_batch_of_different_lengths_and_voices_the_codes_are_the_same(
    engine: QwenEngine, utterances: list[SpeechRequest], wanted: list[Codes], ties: Ties
) -> None:
    """24 utterances of 1 to 8 frames through 8 slots: slots are used again, and newcomers join those who speak."""
    shuffled = [(7 * n) % len(utterances) for n in range(len(utterances))]
    lengths = [1 + n % N_FRAMES for n in range(len(utterances))]
    some = [replace(utterances[n], max_frames=length) for n, length in zip(shuffled, lengths, strict=True)]
    for n, length, speech in zip(shuffled, lengths, engine.synthesize(some), strict=True):
        ties.same(speech, wanted[n][:length], f"in a batch: {named(utterances[n])}")


@pytest.mark.parametrize("n_before", [1, 4])
def test_one_that_joins_a_running_batch_says_the_same_and_changes_nobody(
    engine: QwenEngine, utterances: list[SpeechRequest], wanted: list[Codes], ties: Ties, n_before: int
) -> None:
    """All slots are taken; the last two utterances are only asked for once the shortest one's slot is free."""
    short = replace(utterances[9], max_frames=n_before)
    heard: dict[int, list[Event]] = {}
    speaking: list[int] = []

    def coming() -> Iterator[SpeechRequest]:
        yield short
        yield from utterances[: SLOTS - 1]
        assert heard[0][-1].finish is Finish.LENGTH
        speaking.extend(n for n, events in heard.items() if events[-1].finish is None)
        yield utterances[13]
        yield utterances[22]

    for event in engine.stream(coming(), chunk_frames=(1,)):
        heard.setdefault(event.index, []).append(event)
    assert n_before == 1 or speaking
    for n, codes in enumerate([wanted[9][:n_before], *wanted[:7], wanted[13], wanted[22]]):
        ties.same(as_speech(heard[n]), codes, f"joined: {n}")


def test_a_batch_of_eight_that_begins_at_once_says_the_same(
    engine: QwenEngine, utterances: list[SpeechRequest], wanted: list[Codes], ties: Ties
) -> None:
    for first in (0, 8, 16):
        for n, speech in enumerate(engine.synthesize(utterances[first : first + 8]), first):
            ties.same(speech, wanted[n], f"one of eight: {named(utterances[n])}")


def test_a_used_slot_says_the_same(
    tiny: Path, utterances: list[SpeechRequest], wanted: list[Codes], ties: Ties
) -> None:
    """One slot for all: after a longer and after a shorter one, whole and per-frame text, with and without codes."""
    one_slot = QwenEngine.load(str(tiny), device="cpu", dtype="float32", slots=1)
    some = [*range(1, len(utterances), 5), 1]
    for n, speech in zip(some, one_slot.synthesize([utterances[n] for n in some]), strict=True):
        ties.same(speech, wanted[n], f"in a used slot: {named(utterances[n])}")


@pytest.mark.parametrize("max_frames", [1, 2, 5])
def test_max_frames_is_upstreams_max_new_tokens_less_one(
    engine: QwenEngine, upstream: Any, utterances: list[SpeechRequest], max_frames: int
) -> None:
    utterance = replace(utterances[1], max_frames=max_frames)
    [codes] = upstream_codes(upstream, [utterance])
    [speech] = engine.synthesize([utterance])
    assert len(codes) == max_frames
    assert np.array_equal(speech.codes, codes)
    assert speech.finish is Finish.LENGTH


def test_the_audio_is_within_one_step_of_upstreams(
    upstream: Any, alone: list[SpeechResult], utterances: list[SpeechRequest]
) -> None:
    for utterance, speech in zip(utterances, alone, strict=True):
        off = sixteen_bits(speech.pcm) - sixteen_bits(decoded(upstream, utterance.voice, speech.codes))
        assert abs(off).max() <= 1
        assert np.count_nonzero(off) <= 0.02 * off.size
    assert max(np.abs(speech.pcm).max() for speech in alone) > 0.05


def test_utterances_end_where_upstream_ends_them(tiny_ending: Path, ties: Ties) -> None:
    from qwen_tts import Qwen3TTSModel

    ending = QwenEngine.load(str(tiny_ending), device="cpu", dtype="float32", slots=4)
    upstream = Qwen3TTSModel.from_pretrained(tiny_ending)
    texts = ("One.", "Two, three.", "Four five six", "Seven or eight", "9", SIXTY)
    some = [
        SpeechRequest(text, voice, "English", GREEDY, seed=1, max_frames=16, whole_text=whole_text)
        for whole_text in (True, False)
        for text, voice in zip(texts, voices(ending) * 2, strict=True)
    ]
    speeches = ending.synthesize(some)
    wanted = upstream_codes(upstream, some)
    for utterance, speech, codes in zip(some, speeches, wanted, strict=True):
        if ties.same(speech, codes, f"to its end: {named(utterance)}"):
            assert speech.finish is (Finish.STOP if len(codes) < 16 else Finish.LENGTH)
            assert len(speech.pcm) == 1920 * len(codes)
    finishes = [speech.finish for speech in speeches]
    assert finishes.count(Finish.STOP) >= 4
    assert len({len(codes) for codes in wanted}) >= 4


def test_an_utterance_that_cannot_be_spoken_is_refused_and_the_engine_goes_on(
    engine: QwenEngine, utterances: list[SpeechRequest], wanted: list[Codes]
) -> None:
    good = utterances[0]
    for wrong, error, says in (
        (replace(good, language="Klingon"), PromptError, "Klingon"),
        (replace(good, text=" <|im_end|> "), PromptError, "only special tokens"),
        (replace(good, max_frames=5000), EngineError, "do not fit"),
        (replace(good, max_frames=2, resume=wanted[0][:3]), EngineError, "do not fit"),
    ):
        with pytest.raises(error, match=says):
            engine.synthesize([good, good, wrong])
        [speech] = engine.synthesize([good])
        assert np.array_equal(speech.codes, wanted[0])
