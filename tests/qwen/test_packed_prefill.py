"""Which prompts share a launch, and where their tokens go."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from worker.engine.qwen.packed_prefill import packs, places_of

lengths_strategy = st.lists(st.integers(0, 50), max_size=12)


@given(lengths_strategy, st.integers(50, 120))
def test_every_prompt_is_filled_once_and_in_order_within_the_largest_launch(lengths: list[int], most: int) -> None:
    made = list(packs(lengths, most))
    assert [n for pack in made for n in pack] == [n for n, length in enumerate(lengths) if length]
    assert all(0 < sum(lengths[n] for n in pack) <= most for pack in made)
    for pack, following in pairwise(made):
        assert sum(lengths[n] for n in pack) + lengths[following[0]] > most, "no launch more than needed"


@given(lengths_strategy.filter(any), st.integers(0, 40))
def test_a_token_attends_to_its_own_prompt_up_to_itself_and_padding_to_itself(lengths: list[int], n_more: int) -> None:
    rows = [7 * n % 13 for n in range(len(lengths))]
    places = places_of(rows, lengths, sum(lengths) + n_more, spare=99)
    wanted = [(row, position, sum(lengths[:n])) for n, row in enumerate(rows) for position in range(lengths[n])]
    assert places.T[: sum(lengths)].tolist() == [list(place) for place in wanted]
    padding = places[:, sum(lengths) :]
    assert (padding[:2].T == [99, 0]).all()
    assert np.array_equal(padding[2], np.arange(sum(lengths), sum(lengths) + n_more))
