"""Rows of a text that grows: they never change once known, and do not depend on when a text came."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.text import Lexicon, plan
from worker.text.open_text import OpenText
from worker.utterance.rows import EARLY_CHARS, ROW_WEIGHT, GrowingRows, LongRows, TextRows, weight, within

SENTENCES = "The road goes on, and nobody knows where it ends. It rained for a week. Why? Because it can! "


def fed(text: OpenText, pieces: list[str]) -> None:
    for piece in pieces:
        text.feed(piece)


def growing() -> tuple[OpenText, GrowingRows]:
    text = OpenText("English", ["English"], Lexicon({}))
    return text, GrowingRows(text, Lexicon({}))


def along() -> tuple[OpenText, LongRows]:
    text = OpenText("English", ["English"], Lexicon({}))
    return text, LongRows(text)


def count(rows: TextRows) -> int:
    n = 0
    while rows.whole(n) is not None:
        n += 1
    return n


def test_a_row_is_known_as_soon_as_its_segment_is_decided() -> None:
    text, rows = growing()
    text.feed("The first is done. The second one is not")
    assert rows.begun(0) == "The first is done."
    assert (rows.follows(0), rows.follows(1), rows.follows(2)) == (True, True, None)
    assert rows.begun(1) is None
    text.end()
    assert (rows.begun(1), rows.follows(2)) == ("The second one is not", False)


def test_after_a_flush_it_is_unknown_whether_a_row_follows() -> None:
    text, rows = growing()
    text.feed("Let me see")
    text.flush()
    assert rows.begun(0) == "Let me see"
    assert rows.follows(1) is None
    text.end()
    assert rows.follows(1) is False


def test_a_text_that_is_taken_over_keeps_the_language_of_what_began() -> None:
    rows = GrowingRows(OpenText(None, ["Japanese", "English"], Lexicon({})), Lexicon({}), ["Japanese", "English"])
    assert rows.language is None
    rows.resume({0: "Begun before."})
    assert rows.language == "English"


def test_a_text_with_nothing_to_speak_has_no_row() -> None:
    for text, rows in (growing(), along()):
        text.feed(":)")
        text.end()
        assert (rows.begun(0), rows.follows(0)) == (None, False)


def test_a_segment_that_an_earlier_attempt_began_keeps_its_text() -> None:
    _, rows = growing()
    rows.resume({0: "Begun before.", 1: "And this."})
    assert (rows.begun(0), rows.begun(1), rows.begun(2)) == ("Begun before.", "And this.", None)
    assert (rows.follows(1), rows.follows(2)) == (True, None)


def test_a_row_that_is_read_along_begins_with_the_first_words() -> None:
    text, rows = along()
    text.feed("Once upon")
    assert rows.begun(0) is None
    text.feed(" a time there was a king")
    begun = rows.begun(0)
    assert begun is not None
    assert len(begun) >= EARLY_CHARS - 4
    assert rows.whole(0) is None
    text.feed(" of nothing.")
    text.end()
    row = rows.whole(0)
    assert row is not None
    assert row.spoken.startswith(begun)


@settings(deadline=None)
@given(st.lists(st.integers(1, 60), max_size=30), st.integers(1, 25))
def test_a_row_only_grows_and_its_end_does_not_depend_on_the_pieces(cuts: list[int], n_sentences: int) -> None:
    whole = SENTENCES * n_sentences
    reference, expected = along()
    reference.feed(whole)
    reference.end()
    text, rows = along()
    seen: dict[int, str] = {}
    at = 0
    for n in [*cuts, len(whole)]:
        text.feed(whole[at : at + n])
        at = min(len(whole), at + n)
        for index in range(count(rows) + 1):
            begun = rows.begun(index) or ""
            assert begun.startswith(seen.get(index, ""))
            seen[index] = begun
    text.end()
    found = [rows.whole(index) for index in range(count(rows))]
    assert found == [expected.whole(index) for index in range(count(expected))]
    for index, row in enumerate(found):
        assert row is not None
        assert row.spoken.startswith(seen.get(index, ""))
    pieces = plan(whole, "English", {})
    assert " ".join(piece.written for piece in pieces) == " ".join(row.written for row in found if row)
    assert all(row and weight(row.spoken) >= ROW_WEIGHT for row in found[:-1])
    assert rows.follows(len(found)) is False


@pytest.mark.parametrize("text", ["", "abc", "あいう", "aあbい"])
def test_the_longest_start_of_a_weight(text: str) -> None:
    for most in range(10):
        start = within(text, most)
        assert text.startswith(start)
        assert weight(start) <= most
        assert start == text or weight(text[: len(start) + 1]) > most
