"""The pause that follows from a segment's text."""

from __future__ import annotations

import pytest

from worker.text.boundary import Rank
from worker.text.pauses import boundary_after
from worker.voices.card import Pauses


@pytest.mark.parametrize(
    "text",
    [
        "It rains.",
        "Does it?",
        'He said "stop!"',
        "(Really.)",
        "« Non ! »",
        "雨です。",
        "「雨だ。」",
        "雨吗？",
        "비가 와요.",
        "Well…",
    ],
)
def test_a_sentence_ends_with_its_mark_and_what_closes_after_it(text: str) -> None:
    assert boundary_after(text) is Rank.SENTENCE
    assert Pauses().after(text) == 300


@pytest.mark.parametrize("text", ["When it rains,", "these:", "one;", "雨で、", "下雨，", "he left —", "“so,”"])
def test_a_clause_ends_with_its_mark(text: str) -> None:
    assert boundary_after(text) is Rank.CLAUSE
    assert Pauses().after(text) == 120


@pytest.mark.parametrize("text", ["and then the", "雨が", "50", "", "°C", '"so"'])
def test_no_pause_belongs_where_no_mark_is(text: str) -> None:
    assert boundary_after(text) is Rank.BLANK
    assert Pauses().after(text) == 0


def test_the_card_sets_its_own_pauses() -> None:
    pauses = Pauses(sentence_ms=500, clause_ms=0)
    assert (pauses.after("It rains."), pauses.after("When it rains,")) == (500, 0)
