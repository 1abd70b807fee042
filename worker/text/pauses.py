"""Pauses: which boundary a segment's text ends at, and so how long the silence after it should be."""

from __future__ import annotations

from worker.text.boundary import Rank

_AFTER_THE_MARK = " \t\n\"'“”„‟‘’«»‹›)]}」』）】》〉〕］｝*_"
_SENTENCE_MARKS = ".!?…‥。！？｡．"
_CLAUSE_MARKS = ",;:—–，、；："


def boundary_after(text: str) -> Rank:
    """The boundary at a text's end, from its last mark; closing quotation marks and brackets after it are skipped."""
    mark = text.rstrip(_AFTER_THE_MARK)[-1:]
    if mark and mark in _SENTENCE_MARKS:
        return Rank.SENTENCE
    return Rank.CLAUSE if mark and mark in _CLAUSE_MARKS else Rank.BLANK
