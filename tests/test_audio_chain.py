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


def spoken(chain: Chain, segments: list[list[Pcm]], pause_ms: int = 0, *, is_decided: bool = True) -> list[bytes]:
    """All that a chain gives for segments, each a list of pieces. is_decided: pauses are known when segments begin."""
    out: list[bytes] = []
    for index, pieces in enumerate(segments):
        pause = pause_ms if index < len(segments) - 1 else None
        chain.begin_segment(pause if is_decided else None, is_decided=is_decided)
        out += [chain.feed(piece) for piece in pieces]
        if not is_decided:
            chain.decide(pause)
        out.append(chain.end_segment())
    return [*out, chain.flush()]


@settings(deadline=None)
@given(
    st.sampled_from(SAMPLE_RATES),
    st.sampled_from(Encoding),
    st.lists(st.tuples(st.integers(0, 24_000), st.sampled_from([0.0, 0.001, 0.7])), max_size=4),
    st.lists(st.integers(0, 4000), max_size=8),
    st.sampled_from([0, 15, 120, 300]),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_the_bytes_depend_neither_on_cuts_nor_on_when_a_pause_is_decided(
    rate: int,
    encoding: Encoding,
    parts: list[tuple[int, float]],
    cuts: list[int],
    pause_ms: int,
    is_decided: bool,
    seed: int,
) -> None:
    noise = np.random.default_rng(seed)
    whole = [noise.uniform(-level, level, n).astype(np.float32) for n, level in parts]
    one, many = Chain(rate, encoding), Chain(rate, encoding)
    expected = b"".join(spoken(one, [[pcm] for pcm in whole], pause_ms))
    cut = [np.split(pcm, sorted(min(at, pcm.size) for at in cuts)) for pcm in whole]
    assert b"".join(spoken(many, cut, pause_ms, is_decided=is_decided)) == expected
    assert (many.n_samples, many.audible_at) == (one.n_samples, one.audible_at)
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


def test_only_leading_silence_that_is_kept_is_reported() -> None:
    chain = Chain(24000, "pcm_s16le")
    loud = np.full(1920, 0.5, dtype=np.float32)
    spoken(chain, [[SILENT_FRAME] * 3 + [loud]])
    assert chain.leading_silence_ms == 20
    assert chain.audible_at == 480


@pytest.mark.parametrize("rate", SAMPLE_RATES)
def test_silence_is_reported_at_the_jobs_rate(rate: int) -> None:
    chain = Chain(rate, "pcm_s16le")
    loud = np.full(1920, 0.5, dtype=np.float32)
    spoken(chain, [[SILENT_FRAME, SILENT_FRAME, loud]])
    assert chain.leading_silence_ms == pytest.approx(20, abs=1)


def test_an_utterance_without_any_sound_still_comes_out_but_for_what_is_trimmed() -> None:
    chain = Chain(24000, "mulaw")
    out = b"".join(spoken(chain, [[SILENT_FRAME] * 20]))
    assert len(out) == 200 * 24
    assert chain.audible_at is None
    assert chain.leading_silence_ms == 200


def silent_runs_ms(data: bytes, rate: int) -> list[float]:
    """The lengths of the runs of silence between sounds, without those of less than 5 ms."""
    loud = np.flatnonzero(np.abs(np.frombuffer(data, "<i2")) > 163)  # -46 dBFS
    gaps = np.diff(loud) - 1
    return [float(gap) * 1000 / rate for gap in gaps if gap > rate // 200]


@pytest.mark.parametrize("rate", SAMPLE_RATES)
@pytest.mark.parametrize("pause_ms", [60, 120, 300])
@pytest.mark.parametrize(("n_before", "n_after"), [(0, 0), (1, 0), (0, 1), (3, 4), (9, 9)])
def test_a_pause_is_equally_long_whatever_silence_the_segments_have(
    rate: int, pause_ms: int, n_before: int, n_after: int
) -> None:
    segments = [[FRAME] + [SILENT_FRAME] * n_before, [SILENT_FRAME] * n_after + [FRAME]]
    [gap_ms] = silent_runs_ms(b"".join(spoken(Chain(rate, "pcm_s16le"), segments, pause_ms)), rate)
    assert gap_ms == pytest.approx(pause_ms if n_after else pause_ms - 20, abs=15)


def test_a_cut_between_words_gets_no_pause() -> None:
    segments = [[FRAME, SILENT_FRAME], [SILENT_FRAME, FRAME]]
    [gap_ms] = silent_runs_ms(b"".join(spoken(Chain(24000, "pcm_s16le"), segments, 0)), 24000)
    assert gap_ms < 50


def test_the_last_segments_silence_is_cut_to_200_ms() -> None:
    chain = Chain(24000, "pcm_s16le")
    data = b"".join(spoken(chain, [[FRAME] + [SILENT_FRAME] * 9]))
    assert len(data) == 2 * (1920 + 200 * 24)


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
    chain.begin_segment(is_decided=False)
    with pytest.raises(RuntimeError, match="decide"):
        chain.end_segment()
    chain.decide(None)
    with pytest.raises(RuntimeError, match="is open"):
        chain.begin_segment()
    with pytest.raises(RuntimeError, match="end_segment"):
        chain.flush()
    chain.end_segment()
    chain.flush()
    with pytest.raises(RuntimeError, match="flushed"):
        chain.begin_segment()
