"""What was heard: the golden cases, and a second implementation that agrees on random ones."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import schemas
from schemas import Heard, SegmentStart, what_was_heard
from schemas.messages import MAX_COUNT
from worker.text import join, plan

VECTORS = Path(schemas.__file__).parent / "vectors"
CASES: list[dict[str, Any]] = json.loads((VECTORS / "heard.json").read_text())
SEED = 20_261_128


def segment(index: int, pos: int, text: str) -> SegmentStart:
    return SegmentStart(job_id="u1", session_id="s1", index=index, pos=pos, text=text)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["note"])
def test_a_golden_case_is_heard_as_written(case: dict[str, Any]) -> None:
    segments = [segment(**given) for given in case["segments"]]
    for heard in case["heard"]:
        wanted = Heard(heard["text"], heard["segment"], heard["is_estimate"])
        assert what_was_heard(segments, case["made"], case["is_complete"], heard["played"]) == wanted


# A second implementation, from the rule in vectors/README.md: character by character, and without a regular expression.

BLANKS = {chr(code) for code in (0x85, 0xA0, 0x1680, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000)}
BLANKS |= set("\t\n\v\f\r ") | {chr(code) for code in range(0x2000, 0x200B)}
DENSE = ((0x2E80, 0x9FFF), (0xF900, 0xFAFF), (0xFF01, 0xFF9F), (0x20000, 0x3FFFF))


def is_dense(character: str) -> bool:
    return character not in BLANKS and any(first <= ord(character) <= last for first, last in DENSE)


def ends_a_word(text: str, at: int) -> bool:
    """Whether a word of the text ends before its character `at`."""
    if text[at - 1] in BLANKS:
        return False
    return at == len(text) or text[at] in BLANKS or is_dense(text[at]) or is_dense(text[at - 1])


def second(segments: list[tuple[int, int, str]], made: int, is_complete: bool, played: int) -> tuple[Any, ...]:
    rows = sorted({index: (index, pos, text) for index, pos, text in segments}.values())
    played = min(made, played)
    text, last, is_estimate = "", None, False
    if played < 1:
        return text, last, is_estimate
    for row, (index, pos, written) in enumerate(rows):
        known = is_complete or row + 1 < len(rows)
        if row + 1 < len(rows):
            end = max(pos, rows[row + 1][1])
        else:
            end = max(pos, made)
            before = sum(len(other) for _, _, other in rows[:row])
            if not is_complete and before and pos > rows[0][1]:
                end = max(end, pos + len(written) * (pos - rows[0][1]) // before)
        if known and end <= played:
            part, is_estimate = written, False
        elif pos < played:
            cuts = [at for at in range(1, len(written) + 1) if ends_a_word(written, at)]
            kept = [at for at in cuts if at * (end - pos) <= (played - pos) * len(written)]
            part, is_estimate = written[: kept[-1]] if kept else "", True
        else:
            break
        if part:
            text += part if not text or is_dense(text[-1]) else f" {part}"
        last = index
    return text, last, is_estimate


def test_a_second_implementation_agrees_on_random_cases() -> None:
    chance = random.Random(SEED)
    texts = [
        "Hi.",
        "Hello there, my friend.",
        "こんにちは。",
        "私はMakimaです。",
        "a\u3000b",
        "🙂 yes\u2003no",
        "한국어 말",
        "x",
    ]
    n_estimates = 0
    for _ in range(2_000):
        at, segments = 0, []
        for index in range(chance.randrange(6)):
            segments.append((index, at, " ".join(chance.choices(texts, k=chance.randint(1, 4)))))
            at += chance.choice((0, 1, 480, 24_000, 100_000, 2**50))
        if segments and chance.random() < 0.3:  # written again by a take-over
            index, pos, _ = chance.choice(segments)
            segments.append((index, max(0, pos + chance.choice((-500, 0, 0, 500))), chance.choice(texts)))
        made = min(MAX_COUNT, max(0, at + chance.choice((-1_000, 0, 1, 9_999))))
        given = (segments, made, chance.random() < 0.5, chance.choice((0, made, chance.randint(0, made + 5))))
        heard = what_was_heard([segment(*row) for row in segments], *given[1:])
        assert (heard.text, heard.segment, heard.is_estimate) == second(*given), given
        n_estimates += heard.is_estimate
    assert n_estimates > 300


def test_more_samples_never_make_less_heard() -> None:
    rows = [
        segment(0, 0, "Hello there, my friend."),
        segment(1, 900, "私はMakimaです。"),
        segment(2, 2_000, "Bye now."),
    ]
    for is_complete in (False, True):
        heard = [what_was_heard(rows, 2_500, is_complete, played).text for played in range(2_600)]
        assert all(after.startswith(before) for before, after in pairwise(heard))
    assert heard[-1] == "Hello there, my friend. 私はMakimaです。Bye now."


@pytest.mark.parametrize(
    "text", ["One, two. Three! 四。五。 Six?", "こんにちは。元気？ Fine. 한국어. はい。", "「はい」 he said. Ok."]
)
def test_a_job_that_was_played_to_its_end_was_heard_as_its_text_spoken(text: str) -> None:
    pieces = plan(text, "Auto", {})
    rows = [segment(index, index * 100, piece.written) for index, piece in enumerate(pieces)]
    assert what_was_heard(rows, len(rows) * 100, True, len(rows) * 100).text == join(pieces)
