"""Talker and predictor with kernels compute what they compute by eager torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")
from worker.engine.qwen.loader import load
from worker.engine.qwen.predictor import Predictor
from worker.engine.qwen.talker import Talker

N_ROWS, N_POSITIONS = 4, 96
LENGTHS = {2: 37, 0: 1, 3: 5}  # by row


@pytest.fixture(scope="module")
def each(tiny: Path, device: torch.device) -> Callable[[Callable[[Talker, Predictor], Tensor]], list[Tensor]]:
    """The results of a function for talker and predictor, by eager torch and by kernels."""
    made = []
    with torch.inference_mode():
        for kernels in ("torch", "triton"):
            model = load(str(tiny), device=str(device), dtype="float32", kernels=kernels)
            talker = Talker(model.talker, N_ROWS + 1, N_POSITIONS, "sdpa", model.kernels)
            made.append((talker, Predictor(model.talker.code_predictor, N_ROWS + 1, model.kernels)))  # type: ignore[arg-type]

    def run(function: Callable[[Talker, Predictor], Tensor]) -> list[Tensor]:
        with torch.inference_mode():
            return [function(*parts) for parts in made]

    return run


def numbers(device: torch.device, *shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(device)


def test_rows_of_a_packed_prefill_go_on_as_rows_prefilled_alone(each, device) -> None:  # type: ignore[no-untyped-def]
    prompts = {row: numbers(device, n, 64, seed=row) for row, n in LENGTHS.items()}
    x, rows = numbers(device, 3, 64), torch.tensor(list(LENGTHS), device=device)

    def alone(talker: Talker, _: Predictor) -> Tensor:
        for row, prompt in prompts.items():
            talker.prefill(prompt, row)
        return stepped(talker)

    def packed(talker: Talker, _: Predictor) -> Tensor:
        places = [
            (row, p, sum(LENGTHS[r] for r in list(LENGTHS)[:n]))
            for n, row in enumerate(LENGTHS)
            for p in range(LENGTHS[row])
        ]
        padding = [(N_ROWS, 0, len(places) + n) for n in range(3)]
        embeds = torch.cat((*prompts.values(), numbers(device, 3, 64, seed=9)))
        talker.prefill_packed(embeds, *torch.tensor([*places, *padding], device=device).t().contiguous())
        return stepped(talker)

    def stepped(talker: Talker) -> Tensor:
        positions = torch.tensor(list(LENGTHS.values()), device=device)
        hidden = talker.step(x, rows, positions, (positions + 1).tolist())
        return talker.logits(talker.step(hidden, rows, positions + 1, (positions + 2).tolist()))

    found = [*each(alone), *each(packed)]
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n_rows", [2])
def test_the_predictor_draws_from_the_same_logits(each, device, n_rows: int) -> None:  # type: ignore[no-untyped-def]
    hidden, embedded = (numbers(device, n_rows, 64, seed=seed) for seed in (1, 2))

    def logits(_: Talker, predictor: Predictor) -> Tensor:
        seen = []

        def choose(logits: Tensor, codebook: int) -> Tensor:
            seen.append(logits)
            codes = torch.arange(n_rows, device=device) * 31 + codebook
            return predictor.tables[codebook - 1].index_select(0, codes)

        predictor.frame(hidden, embedded, choose)
        return torch.stack(seen)

    eager, ours = each(logits)
    assert ours.shape == (15, n_rows, 2048)
    torch.testing.assert_close(ours, eager, rtol=1e-4, atol=1e-5)
