"""The kinds of boundaries at which a text may be cut."""

from __future__ import annotations

from enum import IntEnum


class Rank(IntEnum):
    """Kinds of boundaries, best first."""

    SENTENCE = 0
    CLAUSE = 1
    MINOR = 2  # the comma that closes a date or a place: "On May 3, 2021,"
    BLANK = 3
    TIGHT = 4  # a blank at which a pause sounds wrong: after an abbreviation, before what a quotation belongs to
