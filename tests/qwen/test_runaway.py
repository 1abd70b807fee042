"""A model that goes on without speaking is ended; speech, pauses and held vowels are not."""

from __future__ import annotations

from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.recordings import babble
from worker.engine.base import FRAME_SAMPLES, N_CODEBOOKS
from worker.engine.qwen.runaway import (
    CYCLES,
    MAX_CYCLE_FRAMES,
    MAX_QUIET_FRAMES,
    MAX_QUIET_FRAMES_AT_START,
    MAX_SAME_CODE_FRAMES,
    Runaway,
)

Pcm = NDArray[np.float32]
Codes = NDArray[np.uint16]
REFERENCE = Path(__file__).parents[2] / "voices" / "placeholder" / "reference.wav"

SILENT: Pcm = np.zeros(FRAME_SAMPLES, dtype=np.float32)


def frames_of(sound: Pcm) -> list[Pcm]:
    n = len(sound) // FRAME_SAMPLES
    return list(sound[: n * FRAME_SAMPLES].reshape(n, FRAME_SAMPLES))


def varied(n: int, seed: int = 1) -> Codes:
    return np.random.default_rng(seed).integers(0, 2048, (n, N_CODEBOOKS)).astype(np.uint16)


def noise(rms: float, n: int, seed: int = 1) -> list[Pcm]:
    return list(np.random.default_rng(seed).normal(0, rms, (n, FRAME_SAMPLES)).astype(np.float32))


def ended_at(pcm: list[Pcm], codes: Codes | None = None) -> int | None:
    """The number of frames after which the model was found to have run away."""
    runaway = Runaway()
    codes = varied(len(pcm)) if codes is None else codes
    verdicts = [runaway.feed(code, samples) for code, samples in zip(codes, pcm, strict=True)]
    return verdicts.index(True) + 1 if True in verdicts else None


SPOKEN = frames_of(babble(2))


def test_silence_after_speech_ends_it_within_four_seconds() -> None:
    assert ended_at(SPOKEN + [SILENT] * 100) == len(SPOKEN) + MAX_QUIET_FRAMES <= len(SPOKEN) + 50


def test_silence_from_the_start_ends_it_sooner() -> None:
    assert ended_at([SILENT] * 100) == MAX_QUIET_FRAMES_AT_START < MAX_QUIET_FRAMES


def test_the_faint_noise_of_a_codecs_silence_is_silence() -> None:
    assert ended_at(SPOKEN + noise(0.001, 100)) == len(SPOKEN) + MAX_QUIET_FRAMES


def test_the_hiss_of_a_cloned_room_is_silence_beside_a_loud_voice() -> None:
    loud = noise(0.3, 20)
    assert ended_at(loud + noise(0.005, 100)) == len(loud) + MAX_QUIET_FRAMES
    assert ended_at(noise(0.02, 20) + noise(0.005, 100)) is None


def test_soft_speech_after_loud_is_speech() -> None:
    assert ended_at(frames_of(babble(3, peak=0.9)) + frames_of(babble(10, peak=0.04))) is None


@pytest.mark.parametrize("pause_s", [0.5, 1.0, 2.0, 2.5])
def test_pauses_between_sentences_end_nothing(pause_s: float) -> None:
    pause = [SILENT] * round(pause_s / 0.08)
    pcm = [*pause[:9], *SPOKEN, *pause, *SPOKEN, *pause, *SPOKEN]
    codes = varied(len(pcm))
    for start in (9 + len(SPOKEN), 9 + 2 * len(SPOKEN) + len(pause)):
        codes[start : start + min(len(pause), 25)] = 7  # even where a pause of 2 s is coded the same throughout
    assert ended_at(pcm, codes) is None


def test_real_speech_ends_nothing_however_often_it_is_said() -> None:
    samples, _ = soundfile.read(REFERENCE, dtype="float32")
    assert ended_at(frames_of(np.tile(samples, 4))) is None


def test_a_vowel_held_for_three_seconds_ends_nothing() -> None:
    pcm = noise(0.1, 38)
    codes = varied(38)
    codes[:, 0] = 77
    assert ended_at(pcm, codes) is None


def test_one_code_of_codebook_0_for_four_seconds_ends_it_though_there_is_sound() -> None:
    codes = varied(200)
    codes[30:, 0] = 77
    assert ended_at(noise(0.1, 200), codes) == 30 + MAX_SAME_CODE_FRAMES == 80


@pytest.mark.parametrize("cycle", CYCLES)
def test_whole_frames_that_come_round_again_end_it(cycle: int) -> None:
    codes = np.concatenate((varied(20), np.tile(varied(cycle, seed=2), (100, 1))))
    assert ended_at(noise(0.1, len(codes)), codes) == 20 + cycle + MAX_CYCLE_FRAMES


def test_a_repeated_syllable_that_is_coded_anew_each_time_ends_nothing() -> None:
    codes = varied(200)
    codes[:, 0] = np.tile([5, 9, 5, 80], 50)  # laughter: codebook 0 comes round again, the others never do
    assert ended_at(noise(0.1, 200), codes) is None


def test_the_same_sound_in_a_longer_cycle_is_left_to_the_frame_budget() -> None:
    assert ended_at(noise(0.1, 200), np.tile(varied(5), (40, 1))) is None


def test_once_run_away_it_stays_so() -> None:
    runaway = Runaway()
    for code in varied(MAX_QUIET_FRAMES_AT_START):
        ran_away = runaway.feed(code, SILENT)
    assert ran_away
    assert all(runaway.feed(code, samples) for code, samples in zip(varied(25), SPOKEN, strict=True))


def test_samples_that_are_no_numbers_are_no_speech() -> None:
    broken = np.full(FRAME_SAMPLES, np.nan, dtype=np.float32)
    assert ended_at(SPOKEN + [broken] * 60) == len(SPOKEN) + MAX_QUIET_FRAMES


@given(st.lists(st.sampled_from(["speech", "silence", "repeat"]), min_size=1, max_size=8), st.integers(0, 300))
def test_a_take_over_that_hears_the_same_frames_comes_to_the_same_end(parts: list[str], seed: int) -> None:
    fresh = (code for seed in count(seed) for code in varied(50, seed))
    codes, pcm = [], []
    for part in parts:
        new = list(islice(fresh, 21))
        codes += [new[0]] * 21 if part == "repeat" else new
        pcm += [SILENT] * 21 if part == "silence" else noise(0.1, 21)
    first, second = Runaway(), Runaway()
    verdicts = [first.feed(code, samples) for code, samples in zip(codes, pcm, strict=True)]
    again = [second.feed(code.astype(np.int64), samples.copy()) for code, samples in zip(codes, pcm, strict=True)]
    assert again == verdicts
    assert verdicts == sorted(verdicts)
