"""The entries of a text stream: cut anywhere, joined as bytes, and each bad one refused by name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import ErrorCode, JobError
from schemas.pieces import Mark, PieceReader

TEXT = "Héllo, 今日は 🎉 Makima."


def joined(reader: PieceReader, *entries: list[bytes]) -> list[str | Mark]:
    """What the entries mean, with neighbouring pieces of text joined."""
    found: list[str | Mark] = []
    for entry in entries:
        for part in reader.add(entry):
            if isinstance(part, str) and found and isinstance(found[-1], str):
                found[-1] += part
            else:
                found.append(part)
    return found


def refused(*entries: list[bytes], max_text_chars: int = 5_000) -> tuple[ErrorCode, str | None]:
    reader = PieceReader(max_text_chars)
    with pytest.raises(JobError) as refusal:
        joined(reader, *entries)
    assert "; " in refusal.value.message
    return refusal.value.code, refusal.value.field


@given(st.lists(st.integers(0, len(TEXT.encode())), max_size=12))
def test_bytes_may_be_cut_anywhere(cuts: list[int]) -> None:
    data = TEXT.encode()
    ends = [*sorted(cuts), len(data)]
    entries = [[b"text", data[start:end]] for start, end in zip([0, *ends], ends, strict=False)]
    assert joined(PieceReader(), *entries, [b"end", b"1"]) == [TEXT, Mark.END]


def test_text_counts_before_flush_and_flush_before_end_in_any_order_of_the_fields() -> None:
    entry = [b"end", b"1", b"mood", b"calm", b"flush", b"1", b"text", b"Hi."]
    assert joined(PieceReader(), entry) == ["Hi.", Mark.FLUSH, Mark.END]


def test_entries_after_the_end_are_ignored() -> None:
    reader = PieceReader()
    joined(reader, [b"text", b"Hi.", b"end", b"1"])
    assert reader.has_ended
    assert joined(reader, [b"text", b"\xff", b"flush", b"2"]) == []


def test_a_flush_within_a_character_keeps_its_bytes_for_what_follows() -> None:
    entries = [[b"text", b"caf\xc3", b"flush", b"1"], [b"text", b"\xa9!"]]
    assert joined(PieceReader(), *entries) == ["caf", Mark.FLUSH, "é!"]


def test_bytes_that_are_no_text_are_refused() -> None:
    assert refused([b"text", b"Hi \xff"]) == (ErrorCode.INVALID_FIELD, "text")
    assert refused([b"text", b"caf\xc3"], [b"text", b"x"]) == (ErrorCode.INVALID_FIELD, "text")
    assert refused([b"text", b"caf\xc3", b"end", b"1"]) == (ErrorCode.INVALID_FIELD, "text")


def test_all_pieces_together_have_the_limit_of_a_text() -> None:
    reader = PieceReader(6)
    assert joined(reader, [b"text", "あああ".encode()], [b"text", b"abc"]) == ["あああabc"]
    with pytest.raises(JobError) as refusal:
        reader.add([b"text", b"d"])
    assert refusal.value.code is ErrorCode.TEXT_TOO_LONG
    assert refused([b"text", b"a" * 10_000_000]) == (ErrorCode.TEXT_TOO_LONG, "text")


@pytest.mark.parametrize(
    "entries", [[[b"end", b"1"]], [[b"text", " \u3000\n".encode()], [b"flush", b"1", b"end", b"1"]]]
)
def test_a_text_of_blanks_alone_is_empty(entries: list[list[bytes]]) -> None:
    assert refused(*entries) == (ErrorCode.TEXT_EMPTY, "text")


@pytest.mark.parametrize("name", ["flush", "end"])
@pytest.mark.parametrize("value", [b"0", b"true", b"", b"\xff"])
def test_a_mark_has_one_value(name: str, value: bytes) -> None:
    assert refused([b"text", b"Hi.", name.encode(), value]) == (ErrorCode.INVALID_FIELD, name)


def test_a_repeated_field_is_refused() -> None:
    assert refused([b"text", b"a", b"text", b"b"]) == (ErrorCode.INVALID_FIELD, "text")
