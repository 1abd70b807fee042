"""The sampling parameters that a user may give, and the defaults of the rest."""

from __future__ import annotations

import math
from typing import Any

import pytest

from worker.engine.qwen.sampler import Sampling


def test_open_fields_come_from_the_checkpoint_then_from_the_model() -> None:
    stored = {"temperature": 0.8, "top_k": 20, "top_p": None, "subtalker_temperature": 0.5, "subtalker_top_p": 0.7}
    filled = Sampling(top_k=0, predictor_top_k=9).resolved(stored)
    assert filled == Sampling(False, 0.8, 0, 1.0, 1.05, 0.5, 9, 0.7)
    assert filled.talker() == (0.8, 0, 1.0, False)
    assert filled.predictor() == (0.5, 9, 0.7, False)
    assert Sampling(greedy=True).resolved({}).predictor() == (0.9, 50, 1.0, True)


def test_a_checkpoint_that_does_not_sample_is_greedy_until_told_otherwise() -> None:
    stored = {"do_sample": False, "subtalker_dosample": False, "temperature": 0.8, "subtalker_temperature": 0.8}
    filled = Sampling(predictor_temperature=0.6).resolved(stored)
    assert (filled.temperature, filled.predictor_temperature) == (0.0, 0.6)


def test_an_unresolved_sampling_says_so() -> None:
    with pytest.raises(ValueError, match="resolved"):
        Sampling(temperature=0.5).talker()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"temperature": -0.1}, "temperature must be 0"),
        ({"temperature": math.nan}, "temperature must be 0"),
        ({"predictor_temperature": 2.5}, "predictor_temperature must be 0"),
        ({"top_k": -1}, "top_k must be a whole number"),
        ({"predictor_top_k": 1.5}, "predictor_top_k must be a whole number"),
        ({"top_k": True}, "top_k must be a whole number"),
        ({"top_p": 0.0}, "top_p must be above 0"),
        ({"predictor_top_p": 1.1}, "predictor_top_p must be above 0"),
        ({"repetition_penalty": 0}, "repetition_penalty must be above 0"),
        ({"repetition_penalty": math.inf}, "repetition_penalty must be above 0"),
        ({"repetition_penalty": "1.1"}, "repetition_penalty must be above 0"),
        ({"greedy": 1}, "give True or False"),
    ],
)
def test_values_out_of_range_are_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Sampling(**wrong)
