"""The codec on a GPU: float16 is near float32, and its two streams disturb each other in nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.gpu.conftest import Load
from worker.engine.qwen import QwenEngine

N_FRAMES = 48
LOUD_DB = 45  # of SNR; float16 has 54 dB with the full model's shapes, bfloat16 36
RAMP = (1, 2, 4, 8, 12)


def codes_of(n_slots: int, n_frames: int = N_FRAMES) -> NDArray[np.uint16]:
    return np.random.default_rng(4).integers(0, 2048, (n_slots, n_frames, 16), np.uint16)


@torch.inference_mode()
def spoken(engine: QwenEngine, codes: NDArray[np.uint16], size: int) -> NDArray[np.float32]:
    """Samples of codes [slots, n, 16] decoded from the start in chunks of one size."""
    codec, rows = engine._runner.codec, range(len(codes))
    for row in rows:
        codec.reset(row, {})
    chunks = [codes[:, at : at + size] for at in range(0, codes.shape[1], size)]
    return np.concatenate([codec.decode(rows, chunk).wait() for chunk in chunks], 1)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_beside_a_half_it_computes_in_float16(load: Load, dtype: str) -> None:
    engine, exact = load("cuda", dtype), load("cuda", "float32")
    assert engine.model.codec_dtype == torch.float16
    for n_rows, size in ((1, 1), (1, 12), (7, 4)):
        wanted, pcm = (spoken(one, codes_of(n_rows), size).astype(np.float64) for one in (exact, engine))
        assert np.isfinite(pcm).all()
        snr_db = 10 * np.log10(np.square(wanted).mean() / np.square(pcm - wanted).mean())
        assert snr_db > LOUD_DB


@torch.inference_mode()
def test_urgent_and_wide_calls_at_once_give_the_samples_of_one_after_the_other(load: Load) -> None:
    """Slots change between the two streams from chunk to chunk."""
    codec, codes = load("cuda", "float32")._runner.codec, codes_of(6, 200)

    def played(waits: bool) -> NDArray[np.float32]:
        choices = np.random.default_rng(8)
        for slot in range(6):
            codec.reset(slot, {})
        at, pending = 0, []
        while at < 180:
            size, slots = int(choices.choice(RAMP)), choices.permutation(6)
            for is_urgent, group in ((False, slots[:4]), (True, slots[4:])):
                copy = codec.decode(group.tolist(), codes[group, at : at + size], is_urgent)
                pending.append((group, copy))
                if waits:
                    torch.cuda.synchronize()
            at += size
        by_slot: list[list[NDArray[np.float32]]] = [[] for _ in range(6)]
        for group, copy in pending:
            for slot, pcm in zip(group, copy.wait(), strict=True):
                by_slot[slot].append(pcm)
        return np.stack([np.concatenate(part) for part in by_slot])

    wanted = played(waits=True)
    for _ in range(5):
        np.testing.assert_allclose(played(waits=False), wanted, atol=1e-5)


@torch.inference_mode()
def test_an_urgent_call_overtakes_wide_ones(load: Load) -> None:
    codec = load("cuda", "bfloat16")._runner.codec
    codes = codes_of(7, 12)
    codec.decode([6], codes[6:, :1], is_urgent=True).wait()
    with torch.cuda.stream(codec._wide.stream):
        torch.cuda._sleep(2_000_000_000)  # clock cycles: a second, which the wide call waits for
    wide = codec.decode(range(6), codes[:6])
    codec.decode([6], codes[6:, :1], is_urgent=True).wait()
    assert not wide.is_done
    wide.wait()
