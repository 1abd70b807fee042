"""Audio comes in chunks that join to exactly one decode, and a stream may be left, cancelled or broken at any time."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.qwen.exact import FRAME_SAMPLES, GREEDY, SIXTY, decoded, sixteen_bits, voices
from worker.engine.qwen import EngineError, Event, Finish, QwenEngine, Sampling, SpeechRequest, SpeechResult

N_FRAMES = 12
SLOTS = 4


@pytest.fixture(scope="module")
def engine(tiny: Path) -> QwenEngine:
    """float64: whatever the chunks, the very same 16-bit samples."""
    return QwenEngine.load(str(tiny), device="cpu", dtype="float64", slots=SLOTS)


@pytest.fixture(scope="module")
def upstream64(tiny: Path) -> Any:
    from qwen_tts import Qwen3TTSModel

    return Qwen3TTSModel.from_pretrained(tiny, dtype=torch.float64)


@pytest.fixture(scope="module")
def utterances(engine: QwenEngine) -> list[SpeechRequest]:
    """Five for four slots, of 1 to 60 frames: of the longest, the codec's window of 72 frames leaves the reference."""
    icl, x_vector, japanese = voices(engine)
    return [
        SpeechRequest("The first one.", icl, "en", GREEDY, seed=1, max_frames=N_FRAMES),
        SpeechRequest("a", x_vector, "en", Sampling(), seed=2, max_frames=1),
        SpeechRequest(SIXTY, x_vector, "en", Sampling(), seed=3, max_frames=60, whole_text=False),
        SpeechRequest("こんにちは。", japanese, "ja", Sampling(), seed=4, max_frames=7),
        SpeechRequest("And one more of them.", icl, "auto", GREEDY, seed=5, max_frames=26, whole_text=False),
    ]


@pytest.fixture(scope="module")
def speeches(engine: QwenEngine, utterances: list[SpeechRequest]) -> list[SpeechResult]:
    return engine.synthesize(utterances)


def by_index(events: Sequence[Event]) -> dict[int, list[Event]]:
    heard: dict[int, list[Event]] = {}
    for event in events:
        heard.setdefault(event.index, []).append(event)
    return heard


def many(utterance: SpeechRequest, n: int = 100) -> Iterator[SpeechRequest]:
    return iter([utterance] * n)


def test_whole_speeches_are_one_decode_of_their_codes(
    upstream64: Any, utterances: list[SpeechRequest], speeches: list[SpeechResult]
) -> None:
    for utterance, speech in zip(utterances, speeches, strict=True):
        assert len(speech.codes) == utterance.max_frames
        one = decoded(upstream64, utterance.voice, speech.codes)
        assert np.array_equal(sixteen_bits(speech.pcm), sixteen_bits(one))


@pytest.mark.parametrize("chunk_frames", [(1,), (1, 2, 4, 8, 12), (25,), (3, 5), ()])
def test_chunks_of_every_length_join_to_the_same_samples(
    engine: QwenEngine, utterances: list[SpeechRequest], speeches: list[SpeechResult], chunk_frames: tuple[int, ...]
) -> None:
    for n, events in by_index(list(engine.stream(utterances, chunk_frames=chunk_frames))).items():
        pcm, codes = (np.concatenate([event[part] for event in events]) for part in (2, 1))
        assert np.array_equal(codes, speeches[n].codes)
        assert np.array_equal(sixteen_bits(pcm), sixteen_bits(speeches[n].pcm))
        assert all(len(event.pcm) == FRAME_SAMPLES * len(event.codes) for event in events)
        assert [event.finish for event in events] == [None] * (len(events) - 1) + [Finish.LENGTH]


def test_chunks_have_the_lengths_asked_for(engine: QwenEngine, utterances: list[SpeechRequest]) -> None:
    some = [replace(utterances[2], max_frames=14), utterances[0]]
    heard = by_index(list(engine.stream(some, chunk_frames=(1, 2, 4))))
    assert [len(event.codes) for event in heard[0]] == [1, 2, 4, 4, 2, 1]  # what is left at the end, by powers of two
    assert [len(event.codes) for event in heard[1]] == [1, 2, 4, 4, 1]


def test_the_first_chunk_is_one_frame_and_comes_before_the_rest_is_spoken(
    engine: QwenEngine, utterances: list[SpeechRequest]
) -> None:
    first = next(stream := engine.stream(utterances[2:3]))
    stream.close()
    assert (first.index, first.codes.shape, first.pcm.shape, first.finish) == (0, (1, 16), (FRAME_SAMPLES,), None)


def test_a_cancelled_utterance_ends_and_its_neighbours_and_followers_do_not_notice(
    engine: QwenEngine, utterances: list[SpeechRequest], speeches: list[SpeechResult]
) -> None:
    heard: dict[int, list[Event]] = {}
    cancelled_after = {0: 3, 3: 1, 2: 20}
    for event in engine.stream(utterances, chunk_frames=(1,)):
        heard.setdefault(event.index, []).append(event)
        if len(heard[event.index]) == cancelled_after.get(event.index):
            engine.cancel(event.index)
            engine.cancel(event.index)
            engine.cancel(99)
    for n, events in heard.items():
        codes = np.concatenate([event.codes for event in events])
        n_frames = cancelled_after.get(n, utterances[n].max_frames)
        assert np.array_equal(codes, speeches[n].codes[:n_frames])
        assert events[-1].finish is (Finish.CANCELLED if n in cancelled_after else Finish.LENGTH)
    assert len(heard) == len(utterances)


def test_a_slot_left_by_a_cancelled_one_speaks_right(
    engine: QwenEngine, utterances: list[SpeechRequest], speeches: list[SpeechResult]
) -> None:
    heard: dict[int, list[Event]] = {}
    coming = [replace(utterances[2], text="Never to be heard to its end."), *many(utterances[4], 6), utterances[3]]
    for event in engine.stream(coming):
        heard.setdefault(event.index, []).append(event)
        if event.index in (0, 3):
            engine.cancel(event.index)
    for n, speech in ((1, 4), (6, 4), (7, 3)):
        assert np.array_equal(np.concatenate([event.codes for event in heard[n]]), speeches[speech].codes)
        pcm = np.concatenate([event.pcm for event in heard[n]])
        assert np.array_equal(sixteen_bits(pcm), sixteen_bits(speeches[speech].pcm))


def test_the_shortest_stream_is_an_empty_one(engine: QwenEngine) -> None:
    assert list(engine.stream([])) == []
    assert engine.synthesize([]) == []


def test_utterances_are_asked_for_only_when_a_slot_is_free(engine: QwenEngine, utterances: list[SpeechRequest]) -> None:
    asked: list[int] = []

    def coming() -> Iterator[SpeechRequest]:
        for n in range(50):
            asked.append(n)
            yield utterances[0]

    for n, event in enumerate(stream := engine.stream(coming())):
        assert len(asked) <= SLOTS + event.index
        if n == 10:
            stream.close()
    assert len(asked) <= SLOTS + 4


def test_two_streams_at_once_are_refused_and_the_first_goes_on(
    engine: QwenEngine, utterances: list[SpeechRequest], speeches: list[SpeechResult]
) -> None:
    stream = engine.stream([utterances[0]])
    events = [next(stream)]
    for other in (lambda: next(engine.stream([utterances[1]])), lambda: engine.synthesize([utterances[1]])):
        with pytest.raises(EngineError, match="open already"):
            other()
    events += list(stream)
    assert np.array_equal(np.concatenate([event.codes for event in events]), speeches[0].codes)


@pytest.mark.parametrize("how", ["closed", "forgotten", "broken"])
def test_a_stream_that_is_left_early_leaves_the_engine_free(
    engine: QwenEngine, utterances: list[SpeechRequest], speeches: list[SpeechResult], how: str
) -> None:
    stream = engine.stream(many(utterances[2]))
    next(stream)
    if how == "closed":
        stream.close()
    elif how == "broken":
        with pytest.raises(KeyError):
            stream.throw(KeyError("the reader's own"))
    else:
        del stream
        gc.collect()
    [speech] = engine.synthesize([utterances[0]])
    assert np.array_equal(speech.codes, speeches[0].codes)
    assert np.array_equal(sixteen_bits(speech.pcm), sixteen_bits(speeches[0].pcm))


def test_an_error_of_the_iterable_itself_leaves_the_engine_free(
    engine: QwenEngine, utterances: list[SpeechRequest], speeches: list[SpeechResult]
) -> None:
    def coming() -> Iterator[SpeechRequest]:
        yield utterances[0]
        raise OSError("the list of texts is gone")

    with pytest.raises(OSError, match="gone"):
        list(engine.stream(coming()))
    assert np.array_equal(engine.synthesize([utterances[0]])[0].codes, speeches[0].codes)


def test_an_utterance_that_cannot_be_spoken_is_named_by_its_number(
    engine: QwenEngine, utterances: list[SpeechRequest]
) -> None:
    with pytest.raises(EngineError, match="only special tokens") as refused:
        engine.synthesize([*utterances[:2], replace(utterances[0], text="<|im_end|>")])
    assert refused.value.__notes__ == ["in the request at index 2"]


def test_a_chunk_schedule_that_is_none_is_refused(engine: QwenEngine, utterances: list[SpeechRequest]) -> None:
    with pytest.raises(ValueError, match="chunk_frames"):
        list(engine.stream(utterances, chunk_frames=(0,)))
    assert len(engine.synthesize([utterances[1]])[0].codes) == 1


def test_a_voice_may_be_made_while_others_are_spoken(
    engine: QwenEngine, utterances: list[SpeechRequest], speeches: list[SpeechResult]
) -> None:
    """Making it decodes its reference with the same codec."""

    def coming() -> Iterator[SpeechRequest]:
        yield utterances[1]
        yield replace(utterances[0], voice=voices(engine)[0])
        yield from utterances[2:4]
        yield replace(utterances[4], voice=voices(engine)[0])

    for n, events in by_index(list(engine.stream(coming()))).items():
        wanted = speeches[[1, 0, 2, 3, 4][n]]
        assert np.array_equal(np.concatenate([event.codes for event in events]), wanted.codes)
        pcm = np.concatenate([event.pcm for event in events])
        assert np.array_equal(sixteen_bits(pcm), sixteen_bits(wanted.pcm))


def test_warming_up_is_refused_while_the_slots_speak_and_changes_nothing_before(
    engine: QwenEngine, utterances: list[SpeechRequest], speeches: list[SpeechResult]
) -> None:
    stream = engine.stream([utterances[0]])
    events = [next(stream)]
    with pytest.raises(EngineError, match="is open"):
        engine.warm_up()
    events += list(stream)
    engine.warm_up()
    [again] = engine.synthesize([utterances[0]])
    for codes in (np.concatenate([event.codes for event in events]), again.codes):
        assert np.array_equal(codes, speeches[0].codes)
