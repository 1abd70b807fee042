"""On a GPU the host reads a step's codes after it has launched the next, which must change nothing but the time.

The engine runs here as it does there, on a CPU: one step behind, with packed prefills, over padded batches, by the
plans that are captured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.qwen.exact import FRAME_SAMPLES, GREEDY, sixteen_bits, voices
from worker.engine.base import Frames
from worker.engine.qwen import Finish, QwenEngine, Sampling, SpeechRequest, SpeechResult
from worker.engine.qwen.batch import Batch
from worker.engine.qwen.buckets import Buckets
from worker.engine.qwen.chunks import Schedule
from worker.engine.qwen.packed_prefill import PackedPrefill

SLOTS = 7  # batches of 1, 2, 4 and 7 rows are captured: three, five and six are filled up
N_FRAMES = 16


@dataclass(frozen=True)
class Pair:
    """Two engines of the same weights, in float64, in which rounding changes no code."""

    usual: QwenEngine
    behind: QwenEngine
    utterances: list[SpeechRequest]
    speeches: list[SpeechResult]

    def batch(self) -> Batch:
        return Batch(self.behind._runner, Schedule(), is_live=False)


@pytest.fixture(scope="module")
def pair(tiny_ending: Path) -> Pair:
    usual, behind = (
        QwenEngine.load(str(tiny_ending), device="cpu", dtype="float64", slots=SLOTS, max_positions=300)
        for _ in range(2)
    )
    behind._runner.lag = 1
    behind._runner._is_cuda = True
    behind._runner._rows = Buckets.of_rows(SLOTS, is_graphed=True)
    runner = behind._runner
    runner._prefill = PackedPrefill(runner._talker, SLOTS, runner.arena.spare, runner._graphs, runner._times)
    icl, x_vector, _ = voices(usual)
    utterances = [
        SpeechRequest("One.", icl, "en", GREEDY, seed=1, max_frames=N_FRAMES),
        SpeechRequest("Two, and more.", x_vector, "en", Sampling(), seed=2, max_frames=N_FRAMES, whole_text=False),
        SpeechRequest("Three.", x_vector, "en", Sampling(top_p=0.9), seed=3, max_frames=N_FRAMES),
        SpeechRequest("Four", icl, "auto", Sampling(top_k=0), seed=4, max_frames=1),
        SpeechRequest(
            "Five of them.",
            icl,
            "en",
            Sampling(predictor_top_p=0.8, repetition_penalty=1.5),
            seed=5,
            max_frames=N_FRAMES,
        ),
        SpeechRequest("Six", x_vector, "ja", replace(GREEDY, repetition_penalty=2.0), seed=6, max_frames=5),
        SpeechRequest("Seven, or so.", icl, "en", Sampling(temperature=1.2), seed=7, max_frames=N_FRAMES),
    ]
    speeches = [usual.synthesize([utterance])[0] for utterance in utterances]
    assert {speech.finish for speech in speeches} == {Finish.STOP, Finish.LENGTH}
    return Pair(usual, behind, utterances, speeches)


def check(speech: SpeechResult, wanted: SpeechResult) -> None:
    assert speech.finish is wanted.finish
    assert np.array_equal(speech.codes, wanted.codes)
    assert np.array_equal(sixteen_bits(speech.pcm), sixteen_bits(wanted.pcm))
    assert speech.margins is not None
    assert wanted.margins is not None
    np.testing.assert_allclose(speech.margins, wanted.margins, rtol=1e-3, atol=1e-5)


def test_every_utterance_is_the_same_alone_and_among_others(pair: Pair) -> None:
    for utterance, wanted in zip(pair.utterances, pair.speeches, strict=True):
        check(pair.behind.synthesize([utterance])[0], wanted)
    for speech, wanted in zip(pair.behind.synthesize(pair.utterances), pair.speeches, strict=True):
        check(speech, wanted)


def test_a_resumed_utterance_goes_on_with_the_next_frame(pair: Pair) -> None:
    resumed, wanted = [], []
    for utterance, speech in zip(pair.utterances, pair.speeches, strict=True):
        for n in {len(speech.codes) // 2, len(speech.codes)} - {0}:
            resumed.append(replace(utterance, resume=speech.codes[:n]))
            wanted.append((speech, n))
    for after, (speech, n) in zip(pair.behind.synthesize(resumed), wanted, strict=True):
        assert np.array_equal(after.codes, speech.codes[n:])
        assert np.array_equal(sixteen_bits(after.pcm), sixteen_bits(speech.pcm[n * FRAME_SAMPLES :]))
        assert after.finish is speech.finish


def to_the_end(batch: Batch, paused: Sequence[frozenset[int]] = ()) -> dict[int, list[Frames]]:
    """Step until every slot is free: first with these slots paused, a step each, then with none."""
    heard: dict[int, list[Frames]] = {slot: [] for slot in batch.open_slots}
    n_steps = 0
    while batch.open_slots:
        for spoken in batch.step(paused[n_steps] if n_steps < len(paused) else ()):
            heard[spoken.slot].append(spoken)
        n_steps += 1
        assert n_steps <= len(paused) + N_FRAMES + 6, "somebody waits for a step that nobody takes"
    return heard


def codes_of(parts: Sequence[Frames]) -> list[list[int]]:
    """Joined, each part beginning where the one before it ended."""
    codes: list[list[int]] = []
    for part in parts:
        assert part.first_frame == len(codes)
        codes += part.codes.tolist()
    return codes


@pytest.mark.parametrize("seed", range(3))
def test_held_slots_lose_no_frame_and_neither_do_their_neighbours(pair: Pair, seed: int) -> None:
    rng = np.random.default_rng(seed)
    batch, chosen = pair.batch(), rng.permutation(len(pair.utterances))
    slots = {batch.open(pair.behind.prepare(pair.utterances[n])): n for n in chosen}
    paused = [frozenset(s for s in range(SLOTS) if rng.random() < 0.5) for _ in range(12)]
    heard = to_the_end(batch, [h for h in paused for _ in range(2)])
    for slot, n in slots.items():
        assert codes_of(heard[slot]) == pair.speeches[n].codes.tolist()
        assert heard[slot][-1].finish is pair.speeches[n].finish


def test_a_row_that_does_not_step_stays_as_it_is(pair: Pair) -> None:
    batch, arena = pair.batch(), pair.behind._runner.arena
    longest = np.argsort([len(speech.codes) for speech in pair.speeches])[-4:]
    slots = [batch.open(pair.behind.prepare(pair.utterances[n])) for n in longest]
    while batch._waiting:
        batch.step()
    paused = slots[1]
    batch.step({paused})
    kept = [arena.inputs, arena.text, arena.positions, arena.frames, arena.seeds, arena.penalty, arena.seen]
    before = [tensor[paused].clone() for tensor in kept]
    for _ in range(2):
        batch.step({paused})
    for tensor, was in zip(kept, before, strict=True):
        assert torch.equal(tensor[paused], was)


@pytest.mark.parametrize("n_steps", [1, 2, 4])
def test_a_cancelled_slot_is_free_soon_and_speaks_right_again(pair: Pair, n_steps: int) -> None:
    batch = pair.batch()
    first, second = (batch.open(pair.behind.prepare(pair.utterances[n])) for n in (0, 6))
    heard = [spoken for _ in range(n_steps) for spoken in batch.step()]
    assert first in batch.open_slots
    batch.cancel(first)
    for _ in range(3):
        heard += batch.step()
    assert first not in batch.open_slots
    ended = [spoken for spoken in heard if spoken.slot == first][-1]
    assert ended.finish is Finish.CANCELLED
    again = batch.open(pair.behind.prepare(pair.utterances[2]))
    assert again == first
    rest = to_the_end(batch)
    assert codes_of(rest[again]) == pair.speeches[2].codes.tolist()
    neighbour = [spoken for spoken in heard if spoken.slot == second] + rest.get(second, [])
    assert codes_of(neighbour) == pair.speeches[6].codes.tolist()


def test_the_host_is_one_step_behind_while_a_row_steps(pair: Pair) -> None:
    batch, n_launched = pair.batch(), []
    batch.open(pair.behind.prepare(pair.utterances[0]))
    while batch.open_slots:
        batch.step()
        n_launched.append(len(batch._launched))
    assert set(n_launched[:-1]) == {1}


def test_a_slot_that_is_dropped_may_be_opened_at_once(pair: Pair) -> None:
    batch = pair.batch()
    slot = batch.open(pair.behind.prepare(pair.utterances[0]))
    for _ in range(4):
        batch.step()
    batch.drop(slot)
    assert batch.open(pair.behind.prepare(pair.utterances[1])) == slot
    heard = to_the_end(batch)
    assert codes_of(heard[slot]) == pair.speeches[1].codes.tolist()


SAMPLINGS = (
    GREEDY,
    Sampling(),
    Sampling(top_k=5, predictor_top_k=1),
    Sampling(top_k=200, predictor_top_k=0),
    Sampling(top_k=0, predictor_top_k=700),
    Sampling(temperature=0.0),
)


@torch.inference_mode()
def test_whatever_is_usual_is_captured_at_start(pair: Pair) -> None:
    runner = pair.behind._runner
    captured = set(runner._plans())
    for n_rows in range(1, SLOTS + 1):
        for n, sampling in enumerate(SAMPLINGS):
            for row in range(SLOTS):  # the others are of another kind
                resolved = (sampling if row == 0 else SAMPLINGS[(n + row) % len(SAMPLINGS)]).resolved({})
                runner.arena.talker_draws.set(row, *resolved.talker())
                runner.arena.predictor_draws.set(row, *resolved.predictor())
            assert runner._plan(range(n_rows), margins=False) in captured
