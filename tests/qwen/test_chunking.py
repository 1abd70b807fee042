"""On a CPU in float32 the samples depend on no other frame, row or thread of a codec call.

They are compared bit by bit, so that a worker which takes an utterance over makes the samples of the first. Another
kind of processor may round differently. With MKL (x86-64) this is guaranteed. Where torch multiplies with another
library and `exactness.check` finds that its products change, samples may differ by one 16-bit step, which is tested
instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import Tensor

from tests.qwen.test_codec import codes_of, decoder_of, pieces
from worker.engine.base import FRAME_SAMPLES
from worker.engine.exactness import check, threads
from worker.engine.qwen.codec.decoder import Codec
from worker.engine.qwen.codec.transformer import silu

pytestmark = pytest.mark.timeout(900)  # beside other busy programs two threads wait for each other at every step

CPU = torch.device("cpu")
N_SLOTS, N_FRAMES = 8, 32
SIZES = [(1,), (2,), (3,), (4,), (8,), (12,), (25,), (N_FRAMES,), (1, 2, 4, 8, 12), (7, 1, 5)]
# A made checkpoint's, and one whose longest sums (7 times the width) MKL divides among 2 threads unless told not to.
WIDTHS = (64, 128)
N_THREADS = (2, 1)
IS_EXACT = torch.backends.mkl.is_available() or not check()
CODES = codes_of(31, N_SLOTS, N_FRAMES).to(CPU)


@pytest.fixture(scope="module", params=WIDTHS)
def codec(request: pytest.FixtureRequest) -> Codec:
    return Codec(decoder_of(torch.float32, width=request.param, device=CPU), N_SLOTS)


@pytest.fixture(scope="module")
def expected(codec: Codec) -> Tensor:
    """Each row decoded alone and at once, on one thread."""
    with threads(1):
        pcm = torch.cat([codec.decode(CODES[row : row + 1], torch.tensor([row])) for row in range(N_SLOTS)])
    assert pcm.std() > 0.1
    assert (pcm.abs() < 1).float().mean() > 0.5
    return pcm


def spoken(codec: Codec, codes: Tensor, slots: Sequence[int], sizes: Sequence[int]) -> Tensor:
    """The slots' codes [B, n, 16] in pieces, each on another number of threads than the one before."""
    parts = []
    for piece, n_threads in zip(pieces(codes, sizes), cycle(N_THREADS), strict=False):
        with threads(n_threads):
            parts.append(codec.decode(piece, torch.tensor(slots)))
    return torch.cat(parts, 1)


def assert_same(pcm: Tensor, expected: Tensor) -> None:
    assert pcm.shape == expected.shape
    if IS_EXACT:
        assert torch.equal(pcm, expected)
    else:
        sixteen_bits = [samples.mul(32768).round() for samples in (pcm, expected)]
        assert (sixteen_bits[0] - sixteen_bits[1]).abs().max() <= 1


@pytest.mark.parametrize("sizes", SIZES)
def test_every_chunking_gives_the_same_samples(codec: Codec, expected: Tensor, sizes: tuple[int, ...]) -> None:
    codec.reset(0, None)
    assert_same(spoken(codec, CODES[:1], [0], sizes), expected[:1])


@pytest.mark.parametrize("sizes", [(1, 2, 3), (25,)])
@pytest.mark.parametrize("rows", [[2, 0], [1, 4, 3], list(range(N_SLOTS))])
def test_every_batch_gives_the_same_samples(
    codec: Codec, expected: Tensor, rows: list[int], sizes: tuple[int, ...]
) -> None:
    for row in rows:
        codec.reset(row, None)
    assert_same(spoken(codec, CODES[rows], rows, sizes), expected[rows])


@given(st.data())
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_sessions_that_come_and_go_hear_the_same_samples(codec: Codec, expected: Tensor, data: st.DataObject) -> None:
    """Any rows at any positions take part in each call, on any number of threads."""
    at = [0] * N_SLOTS
    for slot in range(N_SLOTS):
        codec.reset(slot, None)
    for _ in range(5):
        n = data.draw(st.integers(1, N_FRAMES // 5), label="frames")
        ready = [slot for slot in range(N_SLOTS) if at[slot] + n <= N_FRAMES]
        rows = data.draw(st.lists(st.sampled_from(ready), min_size=1, unique=True), label="rows")
        with threads(data.draw(st.sampled_from(N_THREADS), label="threads")):
            pcm = codec.decode(torch.stack([CODES[row, at[row] : at[row] + n] for row in rows]), torch.tensor(rows))
        for row, said in zip(rows, pcm, strict=True):
            assert_same(said, expected[row, at[row] * FRAME_SAMPLES :][: n * FRAME_SAMPLES])
            at[row] += n


@pytest.mark.parametrize("n_reference_frames", [1, 27])
@pytest.mark.parametrize("sizes", [(1,), (12, 4)])
def test_a_stored_state_goes_on_with_the_same_samples(
    codec: Codec, expected: Tensor, n_reference_frames: int, sizes: tuple[int, ...]
) -> None:
    with threads(2):
        stored = load(save(codec.state_of(CODES[3, :n_reference_frames])))
    for slot in (6, 1):
        codec.reset(slot, stored)
    rest = CODES[[3, 3], n_reference_frames:]
    assert_same(spoken(codec, rest, [6, 1], sizes), expected[[3, 3], n_reference_frames * FRAME_SAMPLES :])


def test_sums_of_more_than_a_thousand_are_the_same_on_three_and_four_threads() -> None:
    """At width 192 the codec's first convolution sums 1344 numbers, for 192 columns where 48 frames are decoded."""
    codec, codes = Codec(decoder_of(torch.float32, width=192, device=CPU), 2), codes_of(32, 2, 48).to(CPU)
    with threads(1):
        expected = codec.decode(codes[:1], torch.tensor([0]))
    for n_threads in (3, 4):
        codec.reset(0, None)
        codec.reset(1, None)
        with threads(n_threads):
            assert_same(codec.decode(codes, torch.tensor([0, 1]))[:1], expected)


def test_a_number_alone_is_activated_as_it_is_among_others() -> None:
    numbers = 4 * torch.randn(999, generator=torch.Generator().manual_seed(1))
    alone = torch.cat([silu(number) for number in numbers.split(1)])
    assert torch.equal(silu(numbers), alone)
    assert torch.allclose(alone, torch.nn.functional.silu(numbers), atol=1e-6)
