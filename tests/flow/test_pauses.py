"""The silence between two segments: its length, and a take-over within it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pytest
import redis
from numpy.typing import NDArray

from tests.conftest import Server, make_settings, running
from tests.flow.listening import check_complete, read_session, until_ended
from tests.recordings import make_voice
from tests.tone import ToneEngine
from worker.engine.base import FRAME_SAMPLES, EngineError, Frames
from worker.settings import Settings
from worker.stream.client import Client
from worker.text import plan

TEXT = "The first sentence stands in the first segment alone. A second one follows it, after a pause."
SILENT_FRAMES = 3


class BreathingEngine(ToneEngine):
    """Each segment has silent frames at both ends. fail_at: the step of the first attempt that fails, from 1."""

    def __init__(self, has_codes: bool = False, fail_at: int = 0) -> None:
        super().__init__(4, has_codes=has_codes)
        self._fail_at = fail_at
        self._n_steps = 0

    def step(self, held: Collection[int] = ()) -> list[Frames]:
        self._n_steps += 1
        if self._n_steps == self._fail_at:
            self.fail = 1
            self.error = EngineError("told to fail")
        lengths = {n: slot.n_frames for n, slot in self._slots.items()}
        return [self._hushed(frames, lengths[frames.slot]) for frames in super().step(held)]

    @staticmethod
    def _hushed(frames: Frames, n_frames: int) -> Frames:
        for n in range(frames.n_frames):
            if not SILENT_FRAMES <= frames.first_frame + n < n_frames - SILENT_FRAMES:
                frames.pcm[n * FRAME_SAMPLES : (n + 1) * FRAME_SAMPLES] = 0
        return frames


async def spoken(
    valkey: redis.Redis, settings: Settings, client: Client, session_id: str, engine: ToneEngine, **fields: str
) -> bytes:
    async with running(settings, engine):
        entry_id = await client.publish({"session_id": session_id, "text": TEXT, "seed": "1", **fields})
        await until_ended(client, session_id)
    heard = read_session(valkey, session_id)[entry_id]
    check_complete(heard, 4 if "encoding" in fields else 2)
    assert max(len(chunk.data) for _, chunk, _ in heard.chunks) <= 256 * 1024
    return heard.data


def silences_ms(pcm: NDArray[np.generic], rate: int) -> list[int]:
    loud = np.flatnonzero(np.abs(pcm) > 0.005 * (32768 if pcm.dtype == np.int16 else 1))
    gaps = np.diff(loud) - 1
    return [int(gap * 1000 // rate) for gap in gaps if gap > rate // 50]


async def test_a_cut_between_two_sentences_sounds_like_a_pause_of_300_ms(
    valkey: redis.Redis, settings: Settings, client: Client
) -> None:
    assert len(plan(TEXT, "English", {})) == 2
    pcm = np.frombuffer(await spoken(valkey, settings, client, "s", BreathingEngine()), "<i2")
    assert silences_ms(pcm, 24_000) == [pytest.approx(300, abs=15)]
    assert pcm.size - np.flatnonzero(pcm)[-1] <= 200 * 24 + 1


async def test_the_card_changes_the_pause_and_a_message_stays_within_the_contracts_size(
    valkey: redis.Redis, valkey_server: Server, client: Client, tmp_path: Path
) -> None:
    make_voice(tmp_path, "slow", "[pauses]\nsentence_ms = 2000\n")
    settings = make_settings(valkey_server.url, voices_dir=tmp_path, default_voice="slow")
    fields = {"sample_rate": "48000", "encoding": "pcm_f32le"}
    pcm = np.frombuffer(await spoken(valkey, settings, client, "s", BreathingEngine(), **fields), "<f4")
    assert silences_ms(pcm, 48_000) == [pytest.approx(2000, abs=15)]


@pytest.mark.parametrize("has_codes", [False, True])
async def test_an_attempt_that_fails_anywhere_around_a_pause_leaves_no_trace_in_the_samples(
    has_codes: bool, valkey: redis.Redis, settings: Settings, client: Client
) -> None:
    undisturbed = await spoken(valkey, settings, client, "undisturbed", BreathingEngine(has_codes))
    for fail_at in (22, 25, 27, 28, 30, 33):
        engine = BreathingEngine(has_codes, fail_at)
        assert await spoken(valkey, settings, client, f"s{fail_at}", engine) == undisturbed, fail_at
        assert len(engine.opened) > 2, "the first attempt failed"
