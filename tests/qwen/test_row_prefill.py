"""A prefill goes on behind what the row's KV cache holds of it, and the speech is that of a row that held nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.qwen.exact import GREEDY, SIXTY, voices
from worker.engine.qwen import QwenEngine, SpeechRequest
from worker.engine.qwen.loader import Kernels, load
from worker.engine.qwen.row_prefill import RowPrefill, n_common
from worker.engine.qwen.talker import Talker

N_POSITIONS = 96
N_LANGUAGE = 5  # positions before the language: the role, and two tags
N_SPEAKER = 7
N_OPENING = 9


@given(st.lists(st.integers(0, 1), max_size=9), st.lists(st.integers(0, 1), max_size=9))
def test_common_rows_are_those_before_the_first_that_differs(some: list[int], others: list[int]) -> None:
    wanted = next(
        (n for n, (a, b) in enumerate(zip(some, others, strict=False)) if a != b), min(len(some), len(others))
    )
    assert n_common(*(torch.tensor(rows).float()[:, None].expand(-1, 3) for rows in (some, others))) == wanted


@pytest.mark.parametrize(("dtype", "kernels", "near"), [("float64", "torch", 1e-9), ("float32", "loops", 1e-4)])
def test_a_prefill_in_parts_goes_on_as_one_in_one_part(tiny: Path, dtype: str, kernels: Kernels, near: float) -> None:
    made = load(str(tiny), device="cpu", dtype=dtype, kernels=kernels)
    with torch.inference_mode():
        talker = Talker(made.talker, 4, N_POSITIONS, "sdpa", kernels)
        like = talker.embedding
        prompt = torch.randn(61, like.shape[1], generator=torch.Generator().manual_seed(0)).to(like.dtype)
        ends = {0: [61], 2: [9, 61], 3: [1, 8, 40, 41, 61]}
        for row, parts in ends.items():
            for first, end in zip([0, *parts], parts, strict=False):
                talker.prefill(prompt[first:end], row, first)
        rows = torch.tensor(list(ends))
        positions = torch.full_like(rows, len(prompt))
        whole, *others = talker.step(prompt[:1].repeat(3, 1), rows, positions, [len(prompt) + 1] * 3)
    for other in others:
        torch.testing.assert_close(other, whole, rtol=near, atol=near)


def test_only_positions_that_were_computed_count_as_work(tiny: Path) -> None:
    with torch.inference_mode():
        rows = RowPrefill(Talker(load(str(tiny), device="cpu", dtype="float64").talker, 3, N_POSITIONS, "sdpa"))
        prompt = torch.randn(40, 64, dtype=torch.float64)
        other = torch.cat((prompt[:30], prompt[:2]))
        assert rows.fill([(0, prompt), (1, prompt[:0])]) == 40
        assert rows.fill([(0, prompt)]) == 0
        assert rows.fill([(0, other), (1, prompt)]) == 2 + 40
        assert rows.fill([(0, prompt)]) == 10


@pytest.fixture
def filled(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """(first, tokens) of each prefill, as it happens."""
    sizes: list[tuple[int, int]] = []
    whole = Talker.prefill

    def prefill(talker: Talker, embeds: Tensor, row: int, first: int = 0) -> None:
        sizes.append((first, len(embeds)))
        whole(talker, embeds, row, first)

    monkeypatch.setattr(Talker, "prefill", prefill)
    return sizes


def test_what_the_slot_holds_of_a_prompt_is_not_filled_again_and_changes_no_code(
    tiny: Path, filled: list[tuple[int, int]]
) -> None:
    engine = QwenEngine.load(str(tiny), device="cpu", dtype="float64", slots=1)
    icl, x_vector, _ = voices(engine)
    one = SpeechRequest("One text.", icl, "en", GREEDY, seed=1, max_frames=6)
    along = replace(one, text=SIXTY, whole_text=False)
    n_voice = N_OPENING + len("Some words of a reference, and more.")
    spoken = engine.synthesize([one])[0]
    requests = [
        (one, None),
        (replace(one, text="Another text."), n_voice),
        (replace(one, resume=spoken.codes[:4]), n_voice),
        (replace(one, resume=spoken.codes[:2]), None),  # all but the last frame, which is a step's
        (along, N_OPENING),
        (replace(along, text="Read along too."), n_voice),
        (replace(one, voice=x_vector), N_SPEAKER),
        (replace(one, voice=x_vector, language="ja"), N_LANGUAGE),
        (one, N_LANGUAGE),
    ]
    for n, (request, first) in enumerate(requests):
        filled.clear()
        ours = engine.synthesize([request])[0]
        assert [begun for begun, _ in filled] == ([] if first is None else [first]), n
        forget(engine)
        theirs = engine.synthesize([request])[0]
        assert filled[-1][0] == 0, n
        assert np.array_equal(ours.codes, theirs.codes), n
        assert np.abs(ours.pcm - theirs.pcm).max() < 1e-6, n


def test_warming_up_leaves_nothing_that_a_prompt_could_begin_with(tiny: Path, filled: list[tuple[int, int]]) -> None:
    engine = QwenEngine.load(str(tiny), device="cpu", dtype="float64", slots=2, warm=False)
    request = SpeechRequest("One text.", voices(engine)[0], "en", GREEDY, seed=1, max_frames=2)
    before = engine.synthesize([request])[0]
    engine.warm_up()
    filled.clear()
    after = engine.synthesize([request])[0]
    assert [first for first, _ in filled] == [0]
    assert np.array_equal(after.codes, before.codes)


def forget(engine: QwenEngine) -> None:
    """Let the slots hold nothing."""
    assert isinstance(engine._runner._prefill, RowPrefill)
    engine._runner._prefill._held.clear()
