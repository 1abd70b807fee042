"""Golden cases of what was heard: segments and samples played, with the text that every implementation must give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class HeardCase:
    """A job's segments as (index, pos, text), in the order of the stream, and what was heard of them.

    heard: for each number of samples played the text, the last segment of which something was played, and whether the
    text is an estimate.
    """

    segments: tuple[tuple[int, int, str], ...]
    made: int
    is_complete: bool
    heard: dict[int, tuple[str, int | None, bool]]


_TWO = ((0, 0, "Hello there."), (1, 24_000, "How are you today?"))
_JAPANESE = ((0, 0, "こんにちは。"), (1, 12_000, "私はMakimaです。"))

CASES: dict[str, HeardCase] = {
    "words of the segment that plays, by their share of its characters": HeardCase(
        _TWO, 60_000, True,
        {
            0: ("", None, False),
            1: ("", 0, True),
            9_999: ("", 0, True),
            10_000: ("Hello", 0, True),
            23_999: ("Hello", 0, True),
            24_000: ("Hello there.", 0, False),
            24_001: ("Hello there.", 1, True),
            30_000: ("Hello there. How", 1, True),
            59_999: ("Hello there. How are you", 1, True),
            60_000: ("Hello there. How are you today?", 1, False),
            99_999: ("Hello there. How are you today?", 1, False),
        },
    ),
    "the last segment's end is unknown: at the pace of the segments before it": HeardCase(
        _TWO, 30_000, False,
        {
            24_000: ("Hello there.", 0, False),
            29_999: ("Hello there.", 1, True),
            30_000: ("Hello there. How", 1, True),
            99_999: ("Hello there. How", 1, True),
        },
    ),
    "the last segment's end is unknown, and more came than its pace lets expect": HeardCase(
        _TWO, 96_000, False,
        {60_000: ("Hello there. How are", 1, True), 96_000: ("Hello there. How are you today?", 1, True)},
    ),
    "the only segment's end is unknown: what came is taken for all of it": HeardCase(
        _TWO[:1], 12_000, False, {5_000: ("Hello", 0, True), 12_000: ("Hello there.", 0, True)}
    ),
    "each character of a script without blanks is a word": HeardCase(
        _JAPANESE, 34_000, True,
        {
            2_000: ("こ", 0, True),
            11_999: ("こんにちは", 0, True),
            12_000: ("こんにちは。", 0, False),
            16_000: ("こんにちは。私は", 1, True),
            27_999: ("こんにちは。私は", 1, True),
            28_000: ("こんにちは。私はMakima", 1, True),
            32_000: ("こんにちは。私はMakimaです", 1, True),
        },
    ),
    "of one index the later message holds": HeardCase(
        ((0, 0, "Good"), (1, 8_000, "mor"), (0, 0, "Good morning."), (1, 20_000, "Hi!")), 26_000, True,
        {8_000: ("Good", 0, True), 20_000: ("Good morning.", 0, False), 26_000: ("Good morning. Hi!", 1, False)},
    ),
    "a segment without samples is heard when the one before it was": HeardCase(
        ((0, 0, "One."), (1, 10_000, "Two."), (2, 10_000, "Three.")), 20_000, True,
        {
            9_999: ("", 0, True),
            10_000: ("One. Two.", 1, False),
            20_000: ("One. Two. Three.", 2, False),
        },
    ),
    "a first segment without samples is not heard before a sample was played": HeardCase(
        ((0, 0, "One."), (1, 0, "Two.")), 10_000, True, {0: ("", None, False), 1: ("One.", 1, True)}
    ),
    "a segment that was announced and has no audio yet": HeardCase(
        (*_TWO, (2, 60_000, "Fine?")), 60_000, False, {60_000: ("Hello there. How are you today?", 1, False)}
    ),
    "segments that a relay has trimmed away are missing": HeardCase(
        ((3, 50_000, "Three."), (4, 60_000, "Four.")), 70_000, True,
        {50_000: ("", None, False), 60_000: ("Three.", 3, False), 70_000: ("Three. Four.", 4, False)},
    ),
    "blanks of any width part words": HeardCase(
        ((0, 0, "a\u3000b\u2003c d"),), 7_000, True, {1_000: ("a", 0, True), 4_000: ("a\u3000b", 0, True)}
    ),
    "characters are code points, not bytes or UTF-16 units": HeardCase(
        ((0, 0, "🙂🙂 é!"),), 5_000, True,
        {1_999: ("", 0, True), 2_000: ("🙂🙂", 0, True), 5_000: ("🙂🙂 é!", 0, False)},
    ),
    "products above 64 bits": HeardCase(
        ((0, 0, "w " * 2_047 + "ww"),), 2**53 - 1, True, {2**53 - 2: (("w " * 2_047).rstrip(), 0, True)}
    ),
    "no segments, from a worker of 0.3": HeardCase((), 24_000, True, {24_000: ("", None, False)}),
}  # fmt: skip


def heard() -> list[dict[str, Any]]:
    """The cases as JSON."""
    return [
        {
            "note": note,
            "segments": [{"index": index, "pos": pos, "text": text} for index, pos, text in case.segments],
            "made": case.made,
            "is_complete": case.is_complete,
            "heard": [
                {"played": played, "text": text, "segment": segment, "is_estimate": is_estimate}
                for played, (text, segment, is_estimate) in case.heard.items()
            ],
        }
        for note, case in CASES.items()
    ]
