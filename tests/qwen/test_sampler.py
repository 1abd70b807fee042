"""The sampler against transformers' processors (upstream's order of them), and its laws: a draw is its row's own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.profiler import profile
from transformers.generation.logits_process import (
    LogitsProcessorList,
    MinNewTokensLengthLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SuppressTokensLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from worker.engine.qwen.sampler import (
    Parameters,
    Rows,
    SamplingShape,
    draw,
    keys,
    noise,
    penalize,
    suppress,
)

VOCABULARY, EOS, SUPPRESSED = 400, 370, 60
Knobs = tuple[float, int, float]  # temperature, top_k, top_p
MANY: list[Knobs] = [(0.9, 50, 1.0), (0, 50, 1.0), (1.3, 7, 0.8), (0.6, 50, 0.9), (1.0, 1, 1.0), (0.4, 30, 0.95)]


def normal(*shape: int, seed: int = 0, scale: float = 2.0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale


def coarse(*shape: int, seed: int = 0) -> Tensor:
    """Logits as a bfloat16 model gives them: many are equal."""
    return normal(*shape, seed=seed).bfloat16().float()


def parameters(knobs: list[Knobs], vocabulary: int = VOCABULARY) -> Parameters:
    made = Parameters(len(knobs), vocabulary)
    for slot, (temperature, top_k, top_p) in enumerate(knobs):
        made.set(slot, temperature, top_k, top_p, greedy=False)
    return made


def first_rows(made: Parameters, n: int) -> Rows:
    return made.rows(torch.arange(n))


def drawn(logits: Tensor, knobs: list[Knobs], key: Tensor, shape: SamplingShape | None = None) -> list[int]:
    made, n = parameters(knobs, logits.shape[1]), len(knobs)
    return draw(logits, first_rows(made, n), key, shape or made.shape(range(n)))[0].tolist()


def suppression_mask() -> Tensor:
    mask = torch.zeros(VOCABULARY)
    mask[-SUPPRESSED:] = -math.inf
    mask[EOS] = 0
    return mask


def upstream(logits: Tensor, spoken: Tensor, penalty: float, knobs: Knobs) -> Tensor:
    """Logits [B, V] after upstream's processors; spoken int64 [B, frames so far]."""
    suppressed = [token for token in range(VOCABULARY - SUPPRESSED, VOCABULARY) if token != EOS]
    processors: list[Any] = [
        RepetitionPenaltyLogitsProcessor(penalty),
        MinNewTokensLengthLogitsProcessor(0, 2, EOS, device="cpu"),
        SuppressTokensLogitsProcessor(suppressed, device="cpu"),
    ]
    temperature, top_k, top_p = knobs
    if temperature:
        processors.append(TemperatureLogitsWarper(float(temperature)))
        processors += [TopKLogitsWarper(top_k)] if top_k else []
        processors += [TopPLogitsWarper(top_p)] if top_p < 1 else []
    processed: Tensor = LogitsProcessorList(processors)(spoken, logits.clone())
    return processed


def ours(logits: Tensor, spoken: Tensor, penalty: float) -> Tensor:
    seen = torch.zeros(logits.shape, dtype=torch.bool).scatter_(1, spoken, True)
    penalized = penalize(logits, seen, torch.full((len(logits),), penalty))
    return suppress(penalized, torch.full((len(logits),), spoken.shape[1]), suppression_mask(), EOS)


def chi_square_p(counts: Tensor, probabilities: Tensor) -> float:
    """The p-value of counts under probabilities; cells that expect fewer than five are one."""
    expected = probabilities.double() * counts.sum()
    rare = expected < 5
    seen = torch.cat([counts[~rare].double(), counts[rare].sum()[None].double()])
    due = torch.cat([expected[~rare], expected[rare].sum()[None]])
    seen, due = (seen[:-1], due[:-1]) if due[-1] < 1e-9 else (seen, due)
    statistic = ((seen - due) ** 2 / due).sum()
    return float(torch.special.gammaincc(torch.tensor((len(due) - 1) / 2).double(), statistic / 2))


@pytest.mark.parametrize(
    ("make", "knobs", "penalty"),
    [
        (normal, (0.9, 50, 1.0), 1.05),
        (coarse, (0.9, 50, 1.0), 1.05),
        (coarse, (0.9, 50, 0.8), 1.05),
        (normal, (1.5, 0, 1.0), 1.0),
        (coarse, (0.7, 0, 0.6), 1.3),
        (normal, (1.0, 5, 0.95), 0.8),
        (coarse, (1.2, 120, 1.0), 2.0),
        (normal, (2.0, 300, 0.99), 1.0),
    ],
)
def test_frequencies_match_upstreams_processors(make: Any, knobs: Knobs, penalty: float) -> None:
    n = 10_000
    logits, spoken = make(1, VOCABULARY, seed=5), torch.tensor([[3, 17, 17, 42, 4, EOS]])
    probabilities = upstream(logits, spoken, penalty, knobs).softmax(1)[0]
    key = keys(torch.tensor([11]).expand(n), torch.arange(n), 1)[:, 0]
    made = parameters([knobs])
    one, rows = ours(logits, spoken, penalty), first_rows(made, 1)
    tokens, _ = draw(one.expand(n, -1), rows, key, made.shape(range(1)))
    counts = tokens.bincount(minlength=VOCABULARY)
    assert counts[probabilities == 0].sum() == 0
    assert chi_square_p(counts, probabilities) > 1e-4


@pytest.mark.parametrize("n_spoken", [0, 1, 2, 30])
def test_greedy_codes_are_upstreams(n_spoken: int) -> None:
    logits = coarse(200, VOCABULARY, seed=n_spoken)
    logits[::3, EOS] = 20.0
    spoken = torch.randint(0, VOCABULARY, (200, n_spoken), generator=torch.Generator().manual_seed(1))
    key = keys(torch.arange(200), torch.zeros(200, dtype=torch.int64), 1)[:, 0]
    expected = upstream(logits, spoken, 1.05, (0, 50, 1.0)).argmax(1).tolist()
    assert drawn(ours(logits, spoken, 1.05), [(0, 50, 1.0)] * 200, key) == expected
    assert (EOS in expected) == (n_spoken >= 2)


def test_penalty_and_suppression_are_upstreams_for_every_logit() -> None:
    logits, spoken = normal(2, VOCABULARY), torch.arange(0, VOCABULARY, 3).repeat(2, 1)
    for penalty in (0.5, 1.0, 1.3):
        expected = upstream(logits, spoken, penalty, (0, 50, 1.0))
        torch.testing.assert_close(ours(logits, spoken, penalty), expected, rtol=0, atol=0)


@pytest.mark.parametrize("top_p", [1.0, 0.9])
def test_greedy_rows_take_the_lowest_of_equals_among_drawing_rows(top_p: float) -> None:
    logits = normal(30, VOCABULARY).clamp_max(2.5)
    knobs = [(0.9, 50, top_p), (0, 50, 1.0)] * 15
    key = keys(torch.arange(30), torch.arange(30), 1)[:, 0]
    assert int((logits == 2.5).sum(1).min()) > 10
    assert drawn(logits, knobs, key)[1::2] == (logits == 2.5).int().argmax(1)[1::2].tolist()


@pytest.mark.parametrize(("top_k", "top_p"), [(50, 0.5), (0, 0.5), (50, 1e-9), (0, 1e-9)])
def test_of_equal_logits_top_p_keeps_as_many_as_upstream_and_always_the_same(top_k: int, top_p: float) -> None:
    logits = normal(1, VOCABULARY, seed=3).clamp_max(2.5)
    kept = upstream(logits, torch.zeros(1, 0, dtype=torch.int64), 1.0, (1.0, top_k, top_p)).isfinite()
    key = keys(torch.full((3000,), 4), torch.arange(3000), 1)[:, 0]
    made = parameters([(1.0, top_k, top_p)])
    every = ours(logits, torch.zeros(1, 0, dtype=torch.int64), 1.0).expand(3000, -1)
    tokens, again = (
        draw(every, first_rows(made, 1), key, shape)[0] for shape in (made.shape(range(1)), made.any_shape(top_p=True))
    )
    assert sorted(logits[0, token].item() for token in set(tokens.tolist())) == sorted(logits[kept].tolist())
    assert tokens.equal(again)


def test_rows_of_one_batch_keep_their_own_parameters() -> None:
    knobs = [*MANY, (1.5, 0, 1.0), (0.8, 0, 0.7)]
    for frame in range(8):
        logits = normal(len(knobs), VOCABULARY, seed=frame)
        key = keys(torch.arange(len(knobs)), torch.full((len(knobs),), frame), 16)[:, 3]
        together = drawn(logits, knobs, key)
        alone = [drawn(logits[row : row + 1], [knob], key[row : row + 1])[0] for row, knob in enumerate(knobs)]
        assert together == alone


def test_draws_depend_neither_on_order_nor_on_neighbours() -> None:
    logits, key = normal(6, 2048), keys(torch.arange(6), torch.arange(6) + 40, 16)[:, 15]
    expected = drawn(logits, MANY, key)
    order = [4, 0, 5, 1, 3, 2]
    assert drawn(logits[order], [MANY[row] for row in order], key[order]) == [expected[row] for row in order]
    others = normal(6, 2048, seed=9)
    others[2] = logits[2]
    assert drawn(others, [(1.9, 0, 0.5)] * 2 + [MANY[2]] + [(0.1, 3, 1.0)] * 3, key)[2] == expected[2]


@pytest.mark.parametrize("make", [normal, coarse])
@pytest.mark.parametrize("top_p", [1.0, 0.85])
def test_draws_do_not_depend_on_how_many_logits_are_looked_at(make: Any, top_p: float) -> None:
    logits = make(80, 2048)
    key = keys(torch.full((80,), 2), torch.arange(80), 1)[:, 0]
    knobs = [(0.9, 50, top_p)] * 80
    narrow = drawn(logits, knobs, key)
    assert len(set(narrow)) > 40
    for wider in (
        SamplingShape(64, top_p=True),
        SamplingShape(256, top_p=top_p < 1),
        SamplingShape(64, every=True, top_p=top_p < 1),
        SamplingShape(2048, every=True, top_p=True),
        SamplingShape(256, top_p=top_p < 1, mixed=True),
    ):
        assert drawn(logits, knobs, key, wider) == narrow


@pytest.mark.parametrize("top_k", [1, 5, 30])
@pytest.mark.parametrize("others", [[], [(1.0, 0, 1.0)], [(0, 9, 1.0)]], ids=["alone", "unlimited", "greedy"])
def test_every_logit_that_ties_with_the_last_of_top_k_may_be_drawn(top_k: int, others: list[Knobs]) -> None:
    logits = normal(1, VOCABULARY).clamp_max(-1.0).repeat(1 + len(others), 1)
    logits[:, 100:200] = 1.0
    tokens = []
    for frame in range(500):
        key = keys(torch.arange(len(logits)), torch.full((len(logits),), frame), 1)[:, 0]
        tokens.append(drawn(logits, [(1.3, top_k, 1.0), *others], key)[0])
    assert set(tokens) <= set(range(100, 200))
    assert len(set(tokens)) > 90


@pytest.mark.parametrize("knobs", [MANY, [(0.9, 0, 1.0)] * 6, [(0.9, 50, 1.0)] * 6])
def test_noise_made_beforehand_draws_the_same(knobs: list[Knobs]) -> None:
    logits, every = normal(6, VOCABULARY), keys(torch.arange(6), torch.arange(6), 16)
    table = noise(every.unsqueeze(2), torch.arange(VOCABULARY))  # [B, 16, V]
    for codebook in range(16):
        assert drawn(logits, knobs, table[:, codebook]) == drawn(logits, knobs, every[:, codebook])


@pytest.mark.parametrize("wide", [False, True])
def test_a_margin_is_the_final_gap_in_deviations_of_the_rows_finite_logits(wide: bool) -> None:
    knobs = [*MANY, (1.5, 0, 1.0), (0.8, 0, 0.7)] if wide else MANY
    made, n, nothing = parameters(knobs), len(knobs), torch.zeros(1, 0, dtype=torch.int64)
    logits = normal(n, VOCABULARY)
    key = keys(torch.arange(n), torch.arange(n), 1)
    suppressed = suppress(logits, torch.zeros(n, dtype=torch.int64), suppression_mask(), EOS)
    tokens, margins = draw(suppressed, first_rows(made, n), key[:, 0], made.shape(range(n)), margins=True)
    assert margins is not None
    for row, knob in enumerate(knobs):
        final = upstream(logits[row : row + 1], nothing, 1.0, knob)[0]
        if knob[0]:
            final = final - noise(key[row], torch.arange(VOCABULARY))
        finite = suppressed[row][suppressed[row].isfinite()] / (knob[0] or 1.0)
        best = final.topk(2).values
        assert final.argmax() == tokens[row]
        expected = (best[0] - best[1]) / finite.std(unbiased=False)
        torch.testing.assert_close(margins[row], expected, rtol=1e-4, atol=1e-6)
    assert margins[4] == math.inf  # its top-k is 1


def test_margins_of_greedy_rows_need_no_temperature() -> None:
    logits, made = normal(4, VOCABULARY), parameters([(0, 50, 1.0)] * 4)
    logits[3] = 0.25
    assert made.shape(range(4)) == SamplingShape()
    _, margins = draw(
        logits, first_rows(made, 4), torch.zeros(4, dtype=torch.int64), made.shape(range(4)), margins=True
    )
    best = logits.topk(2).values
    assert margins is not None
    torch.testing.assert_close(margins[:3], ((best[:, 0] - best[:, 1]) / logits.std(1, unbiased=False))[:3])
    assert margins[3] == 0


def test_the_shape_follows_the_rows_that_are_set_and_named() -> None:
    made = parameters([(0.9, 50, 1.0), (0, 50, 0.5), (0.9, 57, 1.0), (0.9, 0, 1.0)])
    assert [made.shape(range(n)) for n in (1, 2, 3)] == [
        SamplingShape(64),
        SamplingShape(64, mixed=True),
        SamplingShape(128, mixed=True),
    ]
    assert made.shape([2]) == SamplingShape(128)
    assert made.shape([3]) == SamplingShape(every=True)
    assert made.shape([3, 1, 0]) == SamplingShape(64, every=True, mixed=True)
    assert made.rows(torch.tensor([3, 1, 0])).last.flatten().tolist() == [VOCABULARY - 1, 1, 49]
    assert not made.has_top_p([0, 1, 2, 3])
    made.set(0, 0.7, 20, 0.25)
    assert made.has_top_p([3, 0])
    rows = made.rows(torch.tensor([0]))
    assert made.shape([0]) == SamplingShape(64, top_p=True)
    assert [float(rows.temperature), int(rows.last), float(rows.tail)] == pytest.approx([0.7, 19, 0.75])
    made.set(0, 0.7, VOCABULARY - 1, 0.25)
    assert made.shape([0]) == SamplingShape(VOCABULARY, every=True, top_p=True)
    made.set(0, 0.7, 20, 0.25, greedy=True)
    assert made.shape([0]) == SamplingShape()
    assert not made.has_top_p([0])
    assert float(made.rows(torch.tensor([0])).noise) == 0


def operations(run: Callable[[], object]) -> tuple[list[str], set[str]]:
    """The operations of torch that something calls, and every one that runs within them."""
    with profile() as profiled:
        run()
    events = [event for event in profiled.function_events or [] if event.name.startswith("aten::")]
    return [event.name for event in events if event.cpu_parent is None], {event.name for event in events}


@pytest.mark.parametrize("knobs", [[(0, 0, 1.0)] * 6, MANY, [(0.9, 50, 1.0)] * 6, [(0.9, 0, 1.0)] * 6])
def test_the_shape_for_any_rows_reads_no_tensor_on_the_host(knobs: list[Knobs]) -> None:
    made, logits, counts = parameters(knobs), normal(6, VOCABULARY), torch.zeros(6, dtype=torch.int64)
    seen, penalty, mask = logits > 1, torch.ones(6), suppression_mask()

    def step() -> None:
        allowed = suppress(penalize(logits, seen, penalty), counts, mask, EOS)
        draw(allowed, first_rows(made, 6), keys(counts, counts, 16)[:, 2], made.any_shape(True), margins=True)

    reads = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal", "aten::_unique2"}
    assert not reads & operations(step)[1]
    assert reads & operations(lambda: logits[seen])[1]
    assert reads & operations(lambda: bool(penalty.sum() > 0))[1]


@pytest.mark.parametrize(("knobs", "n_at_most"), [((0, 50, 1.0), 1), ((0.9, 50, 1.0), 30), ((0.9, 50, 0.9), 42)])
def test_a_draw_costs_few_operations(knobs: Knobs, n_at_most: int) -> None:
    logits, key, made = normal(1, VOCABULARY), torch.tensor([1]), parameters([knobs])
    rows, shape = first_rows(made, 1), made.shape(range(1))
    assert 0 < len(operations(lambda: draw(logits, rows, key, shape))[0]) <= n_at_most


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: the sampler's graph is not tested")
def test_a_captured_graph_draws_what_the_cpu_draws() -> None:
    made, here = Parameters(6, 2048, device="cuda"), normal(6, 2048)
    for slot, knob in enumerate(MANY):
        made.set(slot, *knob)
    logits, seeds = here.cuda(), torch.arange(6, device="cuda")
    frames, rows, shape = torch.zeros_like(seeds), made.rows(seeds), made.any_shape(top_p=True)
    draw(logits, rows, keys(seeds, frames, 16)[:, 1], shape)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        tokens, _ = draw(logits, rows, keys(seeds, frames, 16)[:, 1], shape)
    for frame in range(50):
        frames.fill_(frame)
        graph.replay()
        key = keys(torch.arange(6), torch.full((6,), frame), 16)[:, 1]
        assert tokens.tolist() == drawn(here, MANY, key)
