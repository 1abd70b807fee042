"""A draw and a frame's end as one kernel each are those of the eager sampler."""

from __future__ import annotations

import math
import random

import pytest
import torch
from torch import Tensor

from worker.engine.qwen import sampler
from worker.engine.qwen.sampler import Parameters

pytest.importorskip("triton")
from worker.engine.qwen.kernels.advance import advance
from worker.engine.qwen.kernels.draw import draw, draw_first

Choice = tuple[float, int, bool]  # temperature, top_k, greedy
HALVES_AND_FLOAT = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
CHOICES: list[Choice] = [
    (0.9, 50, False), (1.1, 20, False), (0.9, 1, False), (0.9, 50, True), (0.7, 5, False),
    (0.9, 200, False), (1.3, 0, False), (0.0, 50, False), (0.3, 2, False),
]  # fmt: skip
SPARE = 9  # the last of ten rows of the arena
WIDTH = 48


class Drawing:
    """An arena's part that a draw reads and writes, with ten rows. Choice n is row `rows[n]`'s."""

    def __init__(self, device: torch.device, choices: list[Choice], vocabulary: int, rows: list[int]) -> None:
        self.parameters = Parameters(SPARE + 1, vocabulary, device)
        for row, (temperature, top_k, greedy) in zip(rows, choices, strict=True):
            self.parameters.set(row, temperature, top_k, 1.0, greedy)
        self.rows = torch.tensor(rows, device=device)
        self.seeds = torch.arange(SPARE + 1, device=device) * 7919 + 2**61 + 2**33
        self.frames = torch.arange(SPARE + 1, device=device) * 3
        self.table = torch.arange(vocabulary * WIDTH, device=device).view(vocabulary, WIDTH).float()
        self.codes = torch.full((len(rows) + 1, 16), -1, device=device)
        self.embedded = torch.zeros(len(rows), WIDTH, device=device)

    def given(self, logits: Tensor) -> tuple[Tensor, ...]:
        """The arguments of the kernels, to their outputs."""
        every = self.parameters.every
        return (
            logits, self.rows, self.seeds, self.frames, every.temperature, every.last, every.noise,
            self.table, self.codes, self.embedded,
        )  # fmt: skip

    def drawn(self, codebook: int) -> list[int]:
        """The codes of the rows; nothing else was written, and the embeddings are theirs."""
        codes = self.codes[:-1, codebook].tolist()
        assert self.embedded.equal(self.table[codes])
        self.codes[:-1, codebook] = -1
        assert self.codes.eq(-1).all()
        return codes

    def wanted(self, logits: Tensor, codebook: int) -> list[int]:
        """What the eager sampler draws from float32 logits."""
        key = sampler.keys(self.seeds, self.frames, 16)[self.rows, codebook]
        shape = self.parameters.any_shape(top_p=False)
        return sampler.draw(logits.float(), self.parameters.rows(self.rows), key, shape)[0].tolist()


def check(drawing: Drawing, logits: Tensor, codebook: int = 3) -> list[int]:
    """The codes that the kernel draws are those of the eager sampler."""
    draw(*drawing.given(logits), codebook)
    codes = drawing.drawn(codebook)
    assert codes == drawing.wanted(logits, codebook)
    return codes


def normal(device: torch.device, *shape: int, seed: int = 0) -> Tensor:
    return (torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 2).to(device)


@HALVES_AND_FLOAT
def test_every_row_draws_what_the_sampler_draws_by_its_own_parameters(device: torch.device, dtype: torch.dtype) -> None:
    drawing = Drawing(device, CHOICES, 2048, [8, 0, 3, 2, 1, 4, 7, 5, 6])
    check(drawing, normal(device, 9, 2048).to(dtype))


@pytest.mark.parametrize(
    ("n_rows", "vocabulary"), [(1, 3072), (2, 1), (3, 2), (4, 5), (5, 255), (6, 256), (7, 257), (8, 300), (9, 1025)]
)
def test_any_vocabulary_and_any_number_of_rows(device: torch.device, n_rows: int, vocabulary: int) -> None:
    drawing = Drawing(device, CHOICES[:n_rows], vocabulary, list(range(n_rows))[::-1])
    logits = normal(device, n_rows, vocabulary + 3, seed=n_rows)[:, :vocabulary]  # rows apart
    check(drawing, logits, codebook=15)


def test_all_that_tie_with_the_last_of_top_k_may_be_drawn(device: torch.device) -> None:
    logits = torch.full((8, 300), -3.0, dtype=torch.bfloat16, device=device)
    logits[:, 100:140], logits[:, 7] = 1.0, 1.25
    drawing = Drawing(device, [(1.9, 5, False)] * 8, 300, list(range(8)))
    drawn: set[int] = set()
    for _ in range(4):
        drawn |= set(check(drawing, logits))
        drawing.frames += 1
    assert drawn <= {7, *range(100, 140)}
    assert len(drawn) > 14, "more than the top 5 and a few"


def test_logits_that_tie_after_the_temperature_are_ties(device: torch.device) -> None:
    """As upstream, which cuts after it divides."""
    logits = torch.zeros(6, 64, device=device)
    logits[:, 61:] = 1.9 + torch.tensor([1, 2, 2**20]) * 2**-23
    assert (logits / 1.9)[0, 61:].unique().numel() == 2
    drawing = Drawing(device, [(1.9, 2, False)] * 6, 64, list(range(6)))
    drawn = check(drawing, logits)
    drawing.frames += 1
    assert {*drawn, *check(drawing, logits)} == {61, 62, 63}


@HALVES_AND_FLOAT
def test_infinite_logits_and_both_zeros(device: torch.device, dtype: torch.dtype) -> None:
    logits = torch.full((5, 33), -math.inf, dtype=dtype, device=device)
    logits[1, 30] = -7.0
    logits[2, 4:6], logits[2, 6:9] = -0.0, 0.0
    logits[3, 20:30] = torch.finfo(dtype).tiny * torch.arange(10)
    logits[4] = torch.finfo(dtype).min / 2
    codes = check(Drawing(device, [(0.9, 3, False)] * 5, 33, [4, 3, 2, 1, 0]), logits)
    assert codes[:2] == [0, 30]


def test_greedy_rows_take_the_lowest_of_equals(device: torch.device) -> None:
    logits = normal(device, 3, 400).clamp_max(2.5)
    codes = check(Drawing(device, [(0.9, 50, True), (0.0, 1, False), (0.9, 0, True)], 400, [5, 2, 9]), logits)
    assert codes == [int((row == 2.5).int().argmax()) for row in logits]


@pytest.mark.parametrize("seed", range(25))
def test_coarse_logits_of_any_kind(seed: int, device: torch.device) -> None:
    chance = random.Random(seed)
    vocabulary = chance.randint(1, 70)
    numbers = chance.sample([-math.inf, -2.0, -1.0, -0.5, -0.0, 0.0, 0.5, 0.75, 1.0, 3.0], chance.randint(1, 10))
    logits = torch.tensor([chance.choices(numbers, k=vocabulary)], device=device)
    choice = chance.choice((0.0, chance.uniform(0, 2))), chance.randint(0, 90), chance.random() < 0.5
    drawing = Drawing(device, [choice], vocabulary, [chance.randint(0, SPARE)])
    drawing.seeds.fill_(chance.getrandbits(63))
    drawing.frames.fill_(chance.randint(0, 4000))
    dtype = chance.choice([torch.bfloat16, torch.float16, torch.float32, torch.float64])
    check(drawing, logits.to(dtype), chance.randint(0, 15))


@HALVES_AND_FLOAT
def test_the_first_code_is_penalized_and_suppressed_and_then_seen(device: torch.device, dtype: torch.dtype) -> None:
    vocabulary, eos = 300, 270
    rows = [3, 0, 4, 1, 2]
    drawing = Drawing(device, [(0.9, 5, False), (0.9, 0, True), (0.9, 20, False), (1.2, 0, False), (0.9, 50, True)],
                      vocabulary, rows)  # fmt: skip
    logits = normal(device, 5, vocabulary).to(dtype)
    logits[:, eos] = 60.0  # by far the best, where it is allowed
    seen = normal(device, SPARE + 1, vocabulary, seed=1) > 0
    penalty = torch.tensor([0.5, 1.0, 1.05, 1.3, 4.0] * 2, device=device)
    mask = torch.zeros(vocabulary, device=device)
    mask[-60:] = -math.inf
    mask[eos] = 0
    earliest = drawing.frames + torch.tensor([0, 1, 0, 1, 1] * 2, device=device)
    allowed = sampler.penalize(logits.float(), seen[drawing.rows], penalty[drawing.rows])
    allowed = sampler.suppress(allowed, drawing.frames[drawing.rows], mask, eos, earliest[drawing.rows])
    wanted, marked = drawing.wanted(allowed, 0), seen.clone()
    marked[drawing.rows, torch.tensor(wanted, device=device)] = True
    draw_first(*drawing.given(logits), seen, penalty, mask, earliest, eos)
    assert drawing.drawn(0) == wanted
    assert seen.equal(marked)
    assert [code == eos for code in wanted] == [False, True, False, False, True]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("rows", "width"), [([2], 1), ([3, 0, 1], 300), ([1, 9, 0, 9, 9, 5], 77)])
def test_the_next_input_is_the_sum_of_the_codes_and_the_text(
    device: torch.device, dtype: torch.dtype, rows: list[int], width: int
) -> None:
    embedded, text = normal(device, 16, len(rows), width).to(dtype), normal(device, 10, width, seed=1).to(dtype)
    inputs, at = torch.zeros(10, width, dtype=dtype, device=device), torch.tensor(rows, device=device)
    positions, frames = torch.arange(10, device=device), torch.arange(10, device=device) * 5
    advance(embedded, at, text, inputs, positions, frames, SPARE)
    live = [row for row in rows if row != SPARE]
    summed = embedded.double().sum(0).to(dtype) + text[at]
    step = torch.finfo(dtype).eps
    for n, row in enumerate(rows):
        if row != SPARE:
            torch.testing.assert_close(inputs[row], summed[n], rtol=2 * step, atol=16 * step)
    others = [row for row in range(SPARE) if row not in live]
    assert not inputs[others].any()
    stepped = torch.tensor([int(row in live) for row in range(10)], device=device)
    assert positions.tolist() == (torch.arange(10, device=device) + stepped).tolist()
    assert frames.tolist() == (torch.arange(10, device=device) * 5 + stepped).tolist()
