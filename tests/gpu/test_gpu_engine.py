"""On a GPU the engine makes the codes that it makes on a CPU, with and without graphs, in any batch."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.gpu.conftest import GREEDY, Load, utterances
from worker.engine.qwen import Finish, QwenEngine, SpeechRequest, SpeechResult
from worker.engine.qwen import cuda as graphs
from worker.engine.qwen.batch import Batch
from worker.engine.qwen.chunks import Schedule

FRAME_SAMPLES = 1920


def moved(utterances: list[SpeechRequest], engine: QwenEngine) -> list[SpeechRequest]:
    """The same utterances with their voices' tensors where this engine wants them."""
    place = {"device": engine.model.device, "dtype": engine.model.dtype}
    voices = {}
    for voice in {utterance.voice for utterance in utterances}:
        codes = None if voice.codes is None else voice.codes.to(engine.model.device)
        voices[voice] = engine.voice(voice.mode, voice.speaker.to(**place), codes, voice.transcript)  # type: ignore[call-overload]
    return [replace(utterance, voice=voices[utterance.voice]) for utterance in utterances]


def sixteen_bits(pcm: NDArray[np.float32]) -> NDArray[np.int32]:
    samples: NDArray[np.int32] = np.clip(np.rint(pcm * np.float32(32768)), -32768, 32767).astype(np.int32)
    return samples


def same(speech: SpeechResult, wanted: SpeechResult, lsb: int = 0) -> None:
    same_codes(speech, wanted)
    assert np.abs(sixteen_bits(speech.pcm) - sixteen_bits(wanted.pcm)).max(initial=0) <= lsb


def same_codes(speech: SpeechResult, wanted: SpeechResult) -> None:
    """And samples within the rounding of halves: how frames are cut into codec calls follows the clock."""
    assert np.array_equal(speech.codes, wanted.codes)
    assert speech.finish is wanted.finish
    noise = np.square(speech.pcm - wanted.pcm).sum()
    assert noise <= 1e-3 * np.square(wanted.pcm).sum()


@contextmanager
def eagerly(engine: QwenEngine) -> Iterator[None]:
    """Without a graph."""
    for replayer in engine._runner.replayers:
        replayer.is_eager = True
    try:
        yield
    finally:
        for replayer in engine._runner.replayers:
            replayer.is_eager = False


@pytest.fixture(scope="module")
def exact(load: Load) -> tuple[QwenEngine, list[SpeechRequest], list[SpeechResult]]:
    """A float64 engine, its requests, and a CPU's results: in float64 rounding changes no code."""
    on_cpu, on_gpu = load("cpu", "float64"), load("cuda", "float64")
    asked = utterances(on_cpu)
    wanted = on_cpu.synthesize(asked)
    assert {speech.finish for speech in wanted} == {Finish.STOP, Finish.LENGTH}
    return on_gpu, moved(asked, on_gpu), wanted


def test_alone_it_says_what_a_cpu_says(exact: tuple[QwenEngine, list[SpeechRequest], list[SpeechResult]]) -> None:
    engine, asked, wanted = exact
    for utterance, speech in zip(asked, wanted, strict=True):
        same(engine.synthesize([utterance])[0], speech, lsb=1)


def test_together_they_say_what_a_cpu_says(exact: tuple[QwenEngine, list[SpeechRequest], list[SpeechResult]]) -> None:
    engine, asked, wanted = exact
    for speech, theirs in zip(engine.synthesize(asked), wanted, strict=True):
        same(speech, theirs, lsb=1)


def test_resumed_it_goes_on_as_a_cpu_does(exact: tuple[QwenEngine, list[SpeechRequest], list[SpeechResult]]) -> None:
    engine, asked, wanted = exact
    halves = [len(speech.codes) // 2 for speech in wanted]
    resumed = [replace(u, resume=s.codes[:n]) for u, s, n in zip(asked, wanted, halves, strict=True)]
    for speech, theirs, n in zip(engine.synthesize(resumed), wanted, halves, strict=True):
        same(speech, replace(theirs, codes=theirs.codes[n:], pcm=theirs.pcm[n * FRAME_SAMPLES :]), lsb=1)


def test_held_slots_lose_nothing(exact: tuple[QwenEngine, list[SpeechRequest], list[SpeechResult]]) -> None:
    engine, asked, wanted = exact
    rng, batch = np.random.default_rng(0), Batch(engine._runner, Schedule(), is_live=False)
    slots = [batch.open(engine.prepare(utterance)) for utterance in asked]
    heard: dict[int, list[list[int]]] = {slot: [] for slot in slots}
    for n in range(400):
        paused = {slot for slot in slots if n < 30 and rng.random() < 0.5}
        for spoken in batch.step(paused):
            heard[spoken.slot] += spoken.codes.tolist()
        if not batch.open_slots:
            break
    assert not batch.open_slots
    for slot, speech in zip(slots, wanted, strict=True):
        assert heard[slot] == speech.codes.tolist()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize("attention", ["sdpa", "flash"])
def test_graphs_say_what_eager_steps_say(
    load: Load, dtype: str, attention: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With torch's slow attention out of reach: whatever is attended is attended by a fused kernel."""
    if attention == "flash":
        pytest.importorskip("flash_attn", reason="flash-attn is not installed")
        if dtype == "float32":
            pytest.skip("flash attention computes in halves only")
    if dtype != "float32":  # where grouped queries without a mask have no fused kernel; they are short
        fused = [backend for backend in graphs.ATTENTION if backend.name != "MATH"]
        monkeypatch.setattr(graphs, "ATTENTION", fused)
    engine = load("cuda", dtype, 7, attention)
    asked = utterances(engine)
    for margins in (False, True):
        with caplog.at_level(logging.INFO, logger=graphs.__name__):
            speeches = engine.synthesize(asked, margins=margins)
        assert "runs eagerly" not in caplog.text, "every usual shape was captured"
        with eagerly(engine):
            for speech, eager in zip(speeches, engine.synthesize(asked, margins=margins), strict=True):
                same_codes(speech, eager)
                assert np.isfinite(speech.pcm).all()


@pytest.mark.parametrize("n_slots", [1, 5, 16, 33, 64])
def test_many_slots_speak_at_once(load: Load, n_slots: int) -> None:
    """In float64 each makes the codes that it makes in an engine of another size."""
    engine, few = load("cuda", "float64", n_slots), load("cuda", "float64")
    asked = utterances(engine, n_slots + 5)
    seen = [asked[n] for n in np.random.default_rng(n_slots).permutation(len(asked))[:9]]
    alone = few.synthesize(seen)
    speeches = engine.synthesize(asked)
    for utterance, wanted in zip(seen, alone, strict=True):
        same(speeches[asked.index(utterance)], wanted, lsb=1)


def test_a_voice_made_while_others_speak_disturbs_nobody(load: Load) -> None:
    engine = load("cuda", "float64")
    asked = utterances(engine)
    wanted = engine.synthesize(asked)
    codes: dict[int, list[list[int]]] = {n: [] for n in range(len(asked))}
    pcm: dict[int, list[float]] = {n: [] for n in range(len(asked))}
    for n, event in enumerate(engine.stream(asked)):
        codes[event.index] += event.codes.tolist()
        pcm[event.index] += event.pcm.tolist()
        if n % 4 == 0:
            made = utterances(engine, 1)[0].voice
            for name, tensor in made.state.items():
                assert torch.equal(tensor, asked[0].voice.state[name])
    for n, speech in enumerate(wanted):
        assert codes[n] == speech.codes.tolist()
        assert np.array_equal(sixteen_bits(np.array(pcm[n], np.float32)), sixteen_bits(speech.pcm))


def test_memory_is_that_of_the_arenas_and_does_not_grow(load: Load) -> None:
    engine = load("cuda", "bfloat16")
    asked = [replace(utterance, max_frames=3, sampling=GREEDY) for utterance in utterances(engine)]
    for _ in range(4):
        engine.synthesize(asked)
    before = torch.cuda.memory_reserved(), engine.memory_bytes
    for _ in range(40):
        engine.synthesize(asked)
    assert (torch.cuda.memory_reserved(), engine.memory_bytes) == before
    assert engine.memory_bytes >= torch.cuda.memory_reserved()


def test_another_gpu_than_the_first_speaks_too(load: Load, model: Path) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("only one CUDA device")
    engine = QwenEngine.load(str(model), device="cuda:1", dtype="float64", slots=3, max_positions=384)
    first = load("cuda", "float64")
    asked = utterances(first, 4)
    for speech, wanted in zip(engine.synthesize(moved(asked, engine)), first.synthesize(asked), strict=True):
        same(speech, wanted, lsb=1)
