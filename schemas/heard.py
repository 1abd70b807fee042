"""What a listener heard of a job: a reader's rule, from the job's segments and the number of samples that were played.

Every segment that ends at or before the last sample played was heard. Of the segment that was playing, those words
count whose share of its characters ends before the share of its samples that was played: an estimate. Everything is
computed in whole numbers, so that implementations in all languages agree; vectors/heard.json has cases.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from schemas.messages import SegmentStart

_DENSE = "\u2e80-\u2fff\u3001-\u9fff\uf900-\ufaff\uff01-\uff9f\U00020000-\U0003ffff"  # scripts written without blanks
_BLANK = "\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"  # Unicode's property White_Space
_WORD = re.compile(f"[{_DENSE}]|[^{_BLANK}{_DENSE}]+")
_is_dense = re.compile(f"[{_DENSE}]").match


@dataclass(frozen=True, slots=True)
class Heard:
    """The text that was heard.

    segment: index of the last segment of which something was played, or None. is_estimate: that segment was not
    played to its end, or its end is unknown, so the last words of `text` are an estimate.
    """

    text: str = ""
    segment: int | None = None
    is_estimate: bool = False


def what_was_heard(segments: Iterable[SegmentStart], made: int, is_complete: bool, played: int) -> Heard:
    """What was heard of one job.

    segments: in the order of the stream; of one index the later one holds. A segment ends where the next one begins.
    made: samples up to which audio was received. is_complete: the job's `complete` was read, so that the last segment
    ends at `made`. Otherwise its end is unknown: it is taken to be `made`, or later where the segments before it had
    more samples a character. played: samples of the job that the listener's player has put out; more than `made`
    counts as `made`, and with 0 nothing was heard.
    """
    newest = {segment.index: segment for segment in segments}
    ordered = [newest[index] for index in sorted(newest)]
    played = min(played, made)
    heard, texts = Heard(), []
    for segment, end in zip(ordered, _ends(ordered, made, is_complete), strict=True):
        is_whole = end <= played and (is_complete or segment is not ordered[-1])
        if played <= 0 or not (is_whole or segment.pos < played):
            break
        texts.append(segment.text if is_whole else begun(segment.text, played - segment.pos, end - segment.pos))
        heard = Heard(join_texts(texts), segment.index, not is_whole)
    return heard


def _ends(ordered: list[SegmentStart], made: int, is_complete: bool) -> list[int]:
    """The sample at which each segment ends; of a last one that is unknown, no less than `made` and than expected."""
    ends = [max(segment.pos, after.pos) for segment, after in pairwise(ordered)]
    for last in ordered[-1:]:
        n_chars = sum(len(segment.text) for segment in ordered[:-1])
        expected = 0 if is_complete else len(last.text) * max(0, last.pos - ordered[0].pos) // max(1, n_chars)
        ends.append(max(made, last.pos + expected))
    return ends


def begun(text: str, played: int, samples: int) -> str:
    """The words of a segment whose share of its characters ends at or before the share of its samples that was played.

    A word is a run of characters without a blank; each character of a script that is written without blanks (Chinese,
    Japanese) is a word. Characters are Unicode code points.
    """
    ends = (word.end() for word in _WORD.finditer(text))
    return text[: max((end for end in ends if end * samples <= played * len(text)), default=0)]


def join_texts(texts: Sequence[str]) -> str:
    """The texts with a blank between them, except after a character of a script that is written without blanks."""
    joined = ""
    for text in filter(None, texts):
        joined += (" " if joined and not _is_dense(joined[-1]) else "") + text
    return joined
