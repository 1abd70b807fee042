"""The chain's law, what it reports of an utterance, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from schemas.jobs import SAMPLE_RATES, Encoding
from worker.audio import AudioError
from worker.audio.chain import Chain
from worker.audio.encode import bytes_per_sample

Pcm = NDArray[np.float32]
FRAME = np.random.default_rng(3).uniform(-0.5, 0.5, 1920).astype(np.float32)
SILENT_FRAME = np.zeros(1920, dtype=np.float32)


def spoken(chain: Chain, segments: list[list[Pcm]]) -> list[bytes]:
    """All that a chain gives for segments, each a list of pieces."""
    out: list[bytes] = []
    for pieces in segments:
        chain.begin_segment()
        out += [chain.feed(piece) for piece in pieces]
        out.append(chain.end_segment())
    return [*out, chain.flush()]


@settings(deadline=None)
@given(
    st.sampled_from(SAMPLE_RATES),
    st.sampled_from(Encoding),
    st.lists(st.tuples(st.integers(0, 4000), st.sampled_from([0.0, 0.001, 0.7])), max_size=4),
    st.lists(st.integers(0, 4000), max_size=8),
    st.integers(0, 2**32 - 1),
)
def test_the_bytes_do_not_depend_on_where_the_input_was_cut(
    rate: int, encoding: Encoding, parts: list[tuple[int, float]], cuts: list[int], seed: int
) -> None:
    noise = np.random.default_rng(seed)
    whole = [noise.uniform(-level, level, n).astype(np.float32) for n, level in parts]
    one, many = Chain(rate, encoding), Chain(rate, encoding)
    expected = b"".join(spoken(one, [[pcm] for pcm in whole]))
    cut = [np.split(pcm, sorted(min(at, pcm.size) for at in cuts)) for pcm in whole]
    assert b"".join(spoken(many, cut)) == expected
    assert (many.n_samples, many.audible_at, many.trimmed_ms) == (
        one.n_samples,
        one.audible_at,
        one.trimmed_ms,
    )
    assert len(expected) == one.n_samples * bytes_per_sample(encoding)


@pytest.mark.parametrize("rate", SAMPLE_RATES)
def test_a_replay_goes_on_with_the_exact_next_sample(rate: int) -> None:
    frames = [FRAME * scale for scale in np.linspace(0.1, 1, 10, dtype=np.float32)]
    whole = b"".join(spoken(Chain(rate, "pcm_s16le"), [frames[:6], frames[6:]]))
    first = Chain(rate, "pcm_s16le")
    first.begin_segment()
    delivered = b"".join(first.feed(frame) for frame in frames[:4])
    replay = b"".join(spoken(Chain(rate, "pcm_s16le"), [[np.concatenate(frames[:6])], frames[6:]]))
    assert delivered + replay[first.n_samples * 2 :] == whole


@pytest.mark.parametrize("rate", SAMPLE_RATES)
@pytest.mark.parametrize("encoding", list(Encoding))
def test_an_utterance_of_one_frame_comes_out_complete(rate: int, encoding: Encoding) -> None:
    chain = Chain(rate, encoding)
    out = b"".join(spoken(chain, [[FRAME]]))
    assert chain.n_samples == 1920 * rate // 24000
    assert len(out) == chain.n_samples * bytes_per_sample(encoding)


@pytest.mark.parametrize("rate", SAMPLE_RATES)
def test_the_first_audible_frame_is_returned_at_once(rate: int) -> None:
    chain = Chain(rate, "pcm_s16le")
    chain.begin_segment()
    assert b"".join(chain.feed(SILENT_FRAME) for _ in range(5)) == b""
    assert np.abs(np.frombuffer(chain.feed(FRAME), "<i2")).max() > 8000
    assert chain.audible_at is not None


def test_leading_silence_is_reported_as_kept_and_as_dropped() -> None:
    chain = Chain(24000, "pcm_s16le")
    loud = np.full(1920, 0.5, dtype=np.float32)
    spoken(chain, [[SILENT_FRAME] * 3 + [loud]])
    assert chain.trimmed_ms == 220
    assert chain.leading_silence_ms == 20
    assert chain.audible_at == 480


@pytest.mark.parametrize("rate", SAMPLE_RATES)
def test_silence_is_reported_at_the_jobs_rate(rate: int) -> None:
    chain = Chain(rate, "pcm_s16le")
    loud = np.full(1920, 0.5, dtype=np.float32)
    spoken(chain, [[SILENT_FRAME, SILENT_FRAME, loud]])
    assert chain.leading_silence_ms == pytest.approx(20, abs=1)


def test_an_utterance_without_any_sound_still_comes_out_but_for_the_bound() -> None:
    chain = Chain(24000, "mulaw")
    out = b"".join(spoken(chain, [[SILENT_FRAME] * 20]))
    assert len(out) == 20 * 1920 - 800 * 24
    assert chain.audible_at is None
    assert chain.leading_silence_ms == 800


def test_an_utterance_without_segments_is_empty() -> None:
    chain = Chain(8000, "alaw")
    assert chain.flush() == chain.flush() == b""
    assert (chain.n_samples, chain.audible_at, chain.leading_silence_ms) == (0, None, 0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_samples_that_are_not_finite_are_refused(bad: float) -> None:
    chain = Chain(24000, "pcm_s16le")
    chain.begin_segment()
    with pytest.raises(AudioError, match="not finite"):
        chain.feed(np.array([0, bad], dtype=np.float32))


@pytest.mark.parametrize("bad", [np.zeros(5), np.zeros((2, 5), np.float32), np.zeros(5, np.int16)])
def test_only_float32_in_one_dimension_is_taken(bad: Pcm) -> None:
    chain = Chain(24000, "pcm_s16le")
    chain.begin_segment()
    with pytest.raises(AudioError, match="float32"):
        chain.feed(bad)


def test_calls_out_of_order_are_refused() -> None:
    chain = Chain(24000, "pcm_s16le")
    with pytest.raises(RuntimeError, match="begin_segment"):
        chain.feed(FRAME)
    with pytest.raises(RuntimeError, match="no segment"):
        chain.end_segment()
    chain.begin_segment()
    with pytest.raises(RuntimeError, match="is open"):
        chain.begin_segment()
    with pytest.raises(RuntimeError, match="end_segment"):
        chain.flush()
    chain.end_segment()
    chain.flush()
    with pytest.raises(RuntimeError, match="flushed"):
        chain.begin_segment()
