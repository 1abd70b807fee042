"""Rows whose text is still being written: wherever it is cut and however long it waits, the codes are the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import checkpoint
from tests.qwen.exact import GREEDY, JAPANESE, SIXTY, Codes, sixteen_bits, upstream_codes, voices
from tests.qwen.traffic import Padded
from worker.engine.base import Frames
from worker.engine.qwen import Finish, PromptError, QwenEngine, Sampling, SpeechRequest
from worker.engine.qwen.active_segment import ActiveSegment
from worker.engine.qwen.batch import Batch
from worker.engine.qwen.chunks import Schedule

SLOTS = 5
MAX_FRAMES = 14
WARM = Sampling(temperature=1.1, top_k=40, top_p=0.95, repetition_penalty=1.3, predictor_top_k=20)
TEXTS = ("Hello, you!", "a", SIXTY, JAPANESE)


@pytest.fixture(scope="module")
def engine(tiny: Path) -> QwenEngine:
    return QwenEngine.load(str(tiny), device="cpu", dtype="float64", slots=SLOTS)


@pytest.fixture(scope="module")
def upstream64(tiny: Path) -> Any:
    from qwen_tts import Qwen3TTSModel

    return Qwen3TTSModel.from_pretrained(tiny, dtype=torch.float64)


@pytest.fixture(scope="module")
def requests(engine: QwenEngine) -> list[SpeechRequest]:
    """With every voice, a text that its prefill reads whole, and longer ones; greedy, then drawn."""
    return [
        SpeechRequest(text, voice, "Auto", sampling, 7, MAX_FRAMES, whole_text=False)
        for sampling in (GREEDY, WARM)
        for voice in voices(engine)[:2]
        for text in TEXTS
    ]


@pytest.fixture(scope="module")
def wanted(engine: QwenEngine, upstream64: Any, requests: list[SpeechRequest]) -> list[Codes]:
    """Upstream's codes of the greedy ones, of the others those of our library, which reads the text whole."""
    n_greedy = len(requests) // 2
    rest = [speech.codes for speech in engine.synthesize(requests[n_greedy:])]
    return upstream_codes(upstream64, requests[:n_greedy]) + rest


@dataclass
class Writer:
    """Gives a slot its text in pieces, the next one after so many steps; then the frames that it makes."""

    batch: Batch
    segment: ActiveSegment
    pieces: Iterator[tuple[int, str, bool]]
    slot: int = -1
    parts: list[Frames] = None  # type: ignore[assignment]
    n_until_next: int = 0

    def __post_init__(self) -> None:
        self.slot, self.parts = self.batch.open(self.segment), []
        self._next = next(self.pieces, None)
        self.n_until_next = self._next[0] if self._next else 0

    def write(self, at_once: bool) -> bool:
        """A step has passed; at_once: nothing else happens, so that time may pass until the next piece."""
        if self._next is None:
            return False
        self.n_until_next -= 1
        if self.n_until_next > 0 and not at_once:
            return False
        _, piece, is_end = self._next
        self.batch.extend(self.slot, piece, is_end, self.segment.max_frames)
        self._next = next(self.pieces, None)
        self.n_until_next = self._next[0] if self._next else 0
        return True

    @property
    def codes(self) -> Codes:
        return np.concatenate([part.codes for part in self.parts])

    @property
    def pcm(self) -> np.ndarray:
        return np.concatenate([part.pcm for part in self.parts])

    @property
    def finish(self) -> Finish | None:
        assert not any(part.ended for part in self.parts[:-1])
        return self.parts[-1].finish


def pieces_of(text: str, rng: np.random.Generator) -> Iterator[tuple[int, str, bool]]:
    """Cut anywhere; each comes 0 to 5 steps after the one before; the end with the last piece or after it."""
    cuts = sorted(set(rng.integers(0, len(text) + 1, rng.integers(0, 12)).tolist()))
    texts = [text[start:end] for start, end in zip((0, *cuts), (*cuts, len(text)), strict=True)]
    texts += [""] * rng.integers(0, 2)
    return iter([(int(rng.integers(0, 6)), piece, n == len(texts) - 1) for n, piece in enumerate(texts)])


def opened(engine: QwenEngine, request: SpeechRequest, text: str = "", is_open: bool = True) -> ActiveSegment:
    return engine.prepare_read_along(replace(request, text=text), request.max_frames or 0, is_open)


def to_the_end(batch: Batch, writers: Sequence[Writer]) -> None:
    by_slot = {writer.slot: writer for writer in writers}
    for _ in range(2000):
        if not batch.open_slots:
            return
        is_idle = batch.wait_s() == inf
        wrote = [writer.write(is_idle and n == 0) for n, writer in enumerate(w for w in writers if w._next)]
        assert not is_idle or any(wrote), "somebody waits for text that has come"
        for frames in batch.step():
            by_slot[frames.slot].parts.append(frames)
            if frames.ended:
                by_slot[frames.slot]._next = None
    raise AssertionError("somebody never ends")


def batch_of(engine: QwenEngine) -> Batch:
    return Batch(engine._runner, Schedule(), is_live=False)


def test_alone_the_codes_are_those_of_the_whole_text(
    engine: QwenEngine, requests: list[SpeechRequest], wanted: list[Codes]
) -> None:
    rng = np.random.default_rng(1)
    for request, codes in list(zip(requests, wanted, strict=True))[::2]:
        writer = Writer(batch := batch_of(engine), opened(engine, request), pieces_of(request.text, rng))
        to_the_end(batch, [writer])
        assert np.array_equal(writer.codes, codes), (request.voice.mode, request.text)
        assert writer.finish is Finish.LENGTH


@pytest.mark.parametrize("lag", [0, 1])
def test_so_they_are_among_neighbours_that_wait_at_other_times(
    tiny: Path, engine: QwenEngine, requests: list[SpeechRequest], wanted: list[Codes], lag: int
) -> None:
    """lag 1: padded rows, and codes that are read a step late, as on a GPU."""
    rng = np.random.default_rng(2)
    batch = batch_of(engine)
    if lag:
        from worker.engine.qwen.loader import load

        runner = Padded(load(str(tiny), device="cpu", dtype="float64"), SLOTS, 2048)
        runner.lag = 1
        batch = Batch(runner, Schedule(), is_live=False)
    order = rng.permutation(len(requests)).tolist()
    for first in range(0, len(order), SLOTS - 1):
        chosen = order[first : first + SLOTS - 1]
        writers = [Writer(batch, opened(engine, requests[n]), pieces_of(requests[n].text, rng)) for n in chosen]
        whole = Writer(batch, engine.prepare(replace(requests[0], whole_text=True)), iter(()))
        to_the_end(batch, [*writers, whole])
        for n, writer in zip(chosen, writers, strict=True):
            assert np.array_equal(writer.codes, wanted[n]), (requests[n].voice.mode, requests[n].text)


def test_in_float32_too_the_samples_are_the_same_bit_by_bit_wherever_the_text_was_cut(tiny: Path) -> None:
    engine = QwenEngine.load(str(tiny), device="cpu", dtype="float32", slots=2, warm=False)
    rng = np.random.default_rng(3)
    request = SpeechRequest(SIXTY, voices(engine)[1], "Auto", WARM, 7, 30)
    batch = batch_of(engine)
    to_the_end(batch, [whole := Writer(batch, opened(engine, request, SIXTY, is_open=False), iter(()))])
    for _ in range(2):
        to_the_end(batch, [cut := Writer(batch, opened(engine, request), pieces_of(SIXTY, rng))])
        assert np.array_equal(cut.pcm, whole.pcm)


@pytest.mark.parametrize("is_open", [True, False])
def test_a_resumed_one_goes_on_with_the_next_frame(
    engine: QwenEngine, requests: list[SpeechRequest], wanted: list[Codes], is_open: bool
) -> None:
    """With the text that had come by then, and the rest later."""
    rng = np.random.default_rng(4)
    batch = batch_of(engine)
    for n in (2, 5, 10, 14):
        request, codes = requests[n], wanted[n]
        whole = engine.synthesize([request])[0]
        for n_frames in (1, 9, MAX_FRAMES):
            text, rest = (request.text[:20], request.text[20:]) if is_open else (request.text, "")
            segment = opened(engine, replace(request, resume=codes[:n_frames]), text, is_open)
            to_the_end(batch, [writer := Writer(batch, segment, pieces_of(rest, rng) if is_open else iter(()))])
            assert np.array_equal(writer.codes, codes)
            assert np.array_equal(sixteen_bits(writer.pcm), sixteen_bits(whole.pcm))


# The end of the speech.


def test_the_end_is_barred_while_text_is_to_come_and_never_after_it(tmp_path: Path) -> None:
    """A model that wants to end nearly everywhere: it ends after the last word, wherever the text was cut."""
    checkpoint.write("tiny", tmp_path / "soon", eos_boost=8)
    engine = QwenEngine.load(str(tmp_path / "soon"), device="cpu", dtype="float64", slots=2, warm=False)
    rng = np.random.default_rng(5)
    batch, voice, text = batch_of(engine), voices(engine)[1], "The end of it, soon. "
    for sampling in (GREEDY, WARM):
        request = SpeechRequest(text, voice, "Auto", sampling, 3, 100)
        segment = opened(engine, request, text, is_open=False)
        to_the_end(batch, [complete := Writer(batch, segment, iter(()))])
        n_text = segment.prefill.n_trailing
        assert complete.finish is Finish.STOP
        assert n_text - 1 <= len(complete.codes) < n_text + 30
        to_the_end(batch, [cut := Writer(batch, opened(engine, request), pieces_of(text, rng))])
        assert np.array_equal(cut.codes, complete.codes)
        assert cut.finish is Finish.STOP
        slot = batch.open(opened(engine, request, text))
        assert not any(frames.ended for frames in stepped(batch))
        batch.extend(slot, "", True, 100)
        assert stepped(batch)[-1].finish is Finish.STOP


def test_the_budget_grows_with_the_text_and_holds_an_open_row(
    engine: QwenEngine, requests: list[SpeechRequest]
) -> None:
    request = requests[4]
    batch = batch_of(engine)
    slot = batch.open(engine.prepare_read_along(replace(request, text="Of some length, this. "), 4, is_open=True))
    frames = stepped(batch)
    assert n_frames(frames) == 4
    assert not any(part.ended for part in frames)
    batch.extend(slot, "And more", False, 6)
    assert n_frames(stepped(batch)) == 2
    batch.extend(slot, "", True, 9)
    rest = stepped(batch)
    assert (n_frames(rest), rest[-1].finish) == (3, Finish.LENGTH)


def test_without_positions_left_an_open_row_ends_by_length(tiny: Path) -> None:
    engine = QwenEngine.load(str(tiny), device="cpu", dtype="float64", slots=1, max_positions=40, warm=False)
    request = SpeechRequest(SIXTY, voices(engine)[1], "Auto", GREEDY, 1)
    batch = batch_of(engine)
    segment = engine.prepare_read_along(request, 1000, is_open=True)
    batch.open(segment)
    frames = stepped(batch)
    assert frames[-1].finish is Finish.LENGTH
    assert n_frames(frames) == 40 - segment.prefill.n_positions == segment.room
    assert not batch.open_slots


# Waiting for text.


def test_a_row_without_text_takes_no_step_and_delays_nobody(engine: QwenEngine, requests: list[SpeechRequest]) -> None:
    batch = batch_of(engine)
    icl, x_vector = requests[0], requests[4]
    unready = [batch.open(opened(engine, request)) for request in (icl, x_vector)]
    assert batch.wait_s() == inf
    assert batch.step() == []
    dry = batch.open(opened(engine, x_vector, "Two words "))
    assert n_frames(stepped(batch)) > 0
    neighbour = batch.open(engine.prepare(replace(icl, whole_text=True)))
    frames = stepped(batch)
    assert {part.slot for part in frames} == {neighbour}
    assert frames[-1].finish is Finish.LENGTH
    assert batch.wait_s() == inf
    batch.extend(dry, "more ", False, MAX_FRAMES)
    assert batch.wait_s() == 0
    assert batch.wait_s({dry}) == inf
    assert n_frames(stepped(batch)) == 5
    for slot in (*unready, dry):
        batch.cancel(slot)
        batch.extend(slot, "late ", True, MAX_FRAMES)
    assert [part.finish for part in stepped(batch)] == [Finish.CANCELLED] * 3


def test_frames_are_given_out_before_their_row_waits(engine: QwenEngine, requests: list[SpeechRequest]) -> None:
    batch = Batch(engine._runner, Schedule(), is_live=True)
    batch.open(opened(engine, requests[4], SIXTY[:15]))
    segment = next(iter(batch._slots.values()))
    frames = stepped(batch)
    assert n_frames(frames) == segment.n_launched == 11
    assert not segment.pending


def test_a_text_without_words_is_refused_at_its_end(engine: QwenEngine, requests: list[SpeechRequest]) -> None:
    batch = batch_of(engine)
    slot = batch.open(opened(engine, requests[4]))
    with pytest.raises(PromptError):
        batch.extend(slot, " \n", True, MAX_FRAMES)
    batch.drop(slot)
    assert batch.wait_s() == inf


def stepped(batch: Batch) -> list[Frames]:
    """What is given out until nothing happens without more text."""
    frames: list[Frames] = []
    while batch.wait_s() == 0:
        frames += batch.step()
    return frames


def n_frames(frames: Sequence[Frames]) -> int:
    return sum(len(part.codes) for part in frames)
