"""Text that is still being written: where it was cut changes nothing, and its segments are those of the whole."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.test_text_clean_kinds import SPOKEN
from worker.text import SegmentText, clean, draft, plan
from worker.text.directions import Actions
from worker.text.language import language_of
from worker.text.open_text import OpenText

LANGUAGES = ["English", "German", "French", "Japanese", "Chinese", "Korean", "Russian"]
ANSWER = """\
Great question! Growing tomatoes on a balcony is easier than it looks — all they want is sun, water and a little care.

## What you'll need

- **A pot:** at least 30 cm deep, with holes
- **Soil:** 20 litres of good compost

Don't plant them too early. A tomato that *freezes once* will not forgive you; wait until the nights stay above 8 °C.

## Step by step

1. **Dig.** Make a hole as deep as your hand. It should be wider than the roots.
2. **Plant.** Put the stem in up to the first leaves, and press the soil down.
3. **Water.** Half a litre a day is enough, e.g. in the evening.

Here's a small script that reminds you:

```python
print("water the tomatoes. Now!")
```

You'd call `remind(2)` twice a day. That is $2 \\times 7 = 14$ times a week, or about 60 % of what Dr. Reed advises.

| Trouble | Likely cause |
|---|---|
| Yellow leaves | Too much water |
| No fruit | Too little sun |

For more, see [the garden book](https://example.com/garden/book) or ask a neighbour.[2] Good luck, and enjoy them!
"""
SENTENCES = [
    "The rain went on and on.", "It was bought by Fenn Ltd. in May.", "Call Dr. Smith at 5 p.m. or later!",
    "She said \"come in\" and smiled.", "“Where are you going?” he asked.", "Well, that is 3.14 metres, or 1,000 feet.",
    "Some **bold words** and *others*.", "Read [this page](https://example.com/a?b=c) first.", "Snow fell.[2]",
    "Use `rows[3]` now.", "We have $a^2 + b^2$ here.", "It costs $5 and $7.", "A 😀 face 🎉!", "2 * 3 = 6",
    "Tom &amp; Ann <b>came</b> by.", "<think>Hm. Not so.</think>", "A line that is broken\nin two.", "[laughs] Sure.",
    "Visit https://example.com/x soon.", "Wait... what?", "I — who else? — was late.", "see_snake_case",
    "今日は天気がいいですね。", "「はい」と言った。", "紅葉（もみじ）が綺麗だ。", "你好！今天很好。", "안녕하세요.",
    "Сегодня дождь.", "Wie geht es z. B. Ihnen?", "Ça va ? Oui !", "Я тут, т. е. дома.",
]  # fmt: skip
BLOCKS = [
    "- one thing\n- another thing", "1. Sit down.\n2. Stand up.", "# A heading", "| A | B |\n|---|---|\n| 1 | 2 |",
    "```python\nx = 1\n```", "> quoted, as it is", "---", "rice\nred beans\noil", "```\nread this\n```",
]  # fmt: skip
MARKS = [
    "*", "**", "_", "`", "```", "[", "]", "](", ")", "(", "<", ">", "</b>", "<think>", "</think>", "$", "\\", "|", "#",
    "\n", "\n\n", " ", " ", "&lt;", "&", ";", ".", "!", "。", "、", "」", "「", "\u0301", "😀", "1.", "- ", "~~~", "http://",
]  # fmt: skip
sentences = st.tuples(st.sampled_from(SENTENCES), st.sampled_from([" ", " ", " ", "\n", "\n\n"])).map("".join)
blocks = st.sampled_from(BLOCKS).map("\n\n{}\n\n".format)
parts = st.lists(sentences | sentences | blocks, max_size=10).map("".join)
hostile = st.lists(st.sampled_from([*SENTENCES, *BLOCKS, *MARKS, *MARKS]), max_size=30).map("".join) | st.text(
    max_size=200
)


def opened(text: str, language: str | None = "English", cuts: list[int] | None = None) -> OpenText:
    """A text after its end; without `cuts` it was fed letter by letter."""
    given_out = OpenText(language, LANGUAGES, {})
    edges = range(len(text) + 1) if cuts is None else [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    for at, to in pairwise(edges):
        given_out.feed(text[at:to])
    given_out.end()
    return given_out


def state(given_out: OpenText) -> tuple[int, bool | None]:
    return len(given_out.segments), given_out.has_more


def delay(text: str) -> int:
    """The number of characters of the text behind its first segment's end, when that was decided."""
    given_out = OpenText("English", LANGUAGES, {})
    for at, char in enumerate(text, 1):
        given_out.feed(char)
        if given_out.segments:
            written = given_out.segments[0].written
            return at - text.index(written[-5:]) - 5
    raise AssertionError("no segment was decided before the end")


@pytest.mark.parametrize("kind", SPOKEN)
def test_an_open_text_has_the_segments_of_the_whole_text(kind: str) -> None:
    for text, _ in SPOKEN[kind]:
        assert opened(text, "Auto").segments == plan(text, "Auto", {}), text


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_answer_has_the_segments_of_the_whole_answer(language: str) -> None:
    assert opened(ANSWER, language).segments == plan(ANSWER, language, {})


@settings(max_examples=60, deadline=None, derandomize=True)
@given(parts, st.sampled_from(LANGUAGES))
def test_any_text_of_whole_marks_has_the_segments_of_the_whole_text(text: str, language: str) -> None:
    assert opened(text, language).segments == plan(text, language, {})


@settings(max_examples=60, deadline=None)
@given(hostile, st.sampled_from([*LANGUAGES, None]), st.lists(st.integers(0, 300), max_size=8), st.integers(0, 300))
def test_where_the_pieces_were_cut_changes_nothing(text: str, language: str | None, cuts: list[int], at: int) -> None:
    whole, cut = OpenText(language, LANGUAGES, {}), OpenText(language, LANGUAGES, {})
    for part in (text[:at], text[at:]):
        whole.feed(part)
        edges = [0, *sorted(min(each, len(part)) for each in cuts), len(part)]
        for start, end in pairwise(edges):
            cut.feed(part[start:end])
        assert cut.segments == whole.segments
        whole.flush()
        cut.flush()
    assert (cut.segments, cut.language) == (whole.segments, whole.language)


@settings(max_examples=40, deadline=None)
@given(hostile)
def test_what_was_given_out_is_never_taken_back(text: str) -> None:
    given_out = OpenText("English", LANGUAGES, {})
    before: tuple[SegmentText, ...] = ()
    for char in text:
        given_out.feed(char)
        assert given_out.segments[: len(before)] == before
        before = given_out.segments
    given_out.end()
    assert given_out.segments[: len(before)] == before


@settings(max_examples=40, deadline=None)
@given(*[parts.filter(lambda text: "```" not in text)] * 2)
def test_a_flush_ends_a_segment_and_what_follows_is_a_text_of_its_own(one: str, other: str) -> None:
    given_out = OpenText("English", LANGUAGES, {})
    given_out.feed(one)
    given_out.flush()
    assert given_out.segments == plan(one, "English", {})
    given_out.feed(other)
    given_out.end()
    assert given_out.segments == plan(one, "English", {}) + plan(other, "English", {})


@settings(max_examples=40, deadline=None)
@given(parts)
def test_speech_that_begins_early_gets_the_words_of_the_segments(text: str) -> None:
    given_out = OpenText("English", LANGUAGES, {"rain": "reign", "a line": "align"})
    values = []
    for char in text:
        given_out.feed(char)
        values.append((len(given_out.segments), given_out.spoken(len(given_out.segments)), given_out.spoken(0)))
    given_out.end()
    for index, rest, whole in values:
        assert given_out.spoken(index).startswith(rest)
        assert given_out.spoken(0).startswith(whole)
    assert "".join(given_out.spoken(0).split()) == "".join("".join(s.spoken for s in given_out.segments).split())


@pytest.mark.parametrize(
    "text",
    [
        "It was raining that day. Nobody came by, and so we went.",
        "It was raining that day! The others, who had come by car, stayed.",
        "## The day\n\nIt was raining a bit. Nobody came by, and so we went.",
        "今日は天気がとてもいいですね。一緒に散歩に行きませんか？",
        "It was **really** raining. Nobody came by, and so we went.",
        "Wir gingen am Abend heim. Niemand kam, und so war es gut.",
    ],
)
def test_the_first_sentence_is_decided_as_soon_as_the_next_has_begun(text: str) -> None:
    assert delay(text) <= 4


def test_an_abbreviation_waits_for_the_word_that_decides() -> None:
    for word, n_decided in [("Mon", 0), ("Nobo", 1)]:
        given_out = OpenText("English", LANGUAGES, {})
        given_out.feed(f"We shall all meet there at 5 p.m. {word}")
        assert len(given_out.segments) == n_decided


def test_words_are_known_as_they_come() -> None:
    given_out = OpenText("English", LANGUAGES, {})
    given_out.feed("Once upon a time there li")
    assert given_out.spoken(0) == "Once upon a time there"
    assert given_out.segments == ()


def test_a_mark_that_stays_open_is_held_for_a_while_and_then_read() -> None:
    given_out = OpenText("English", LANGUAGES, {})
    given_out.feed("Take **two of them. " + "Then we walk on to the next village. " * 5)
    assert not given_out.segments
    given_out.feed("Then we walk on to the next village. " * 10)
    assert given_out.segments[0].written == "Take **two of them."


@pytest.mark.parametrize(("opening", "closing"), [("<think>", "</think>"), ("\n```python\n", "\n```\n")])
def test_nothing_of_reasoning_and_code_is_spoken_before_it_closes(opening: str, closing: str) -> None:
    given_out = OpenText("English", LANGUAGES, {})
    given_out.feed(f"Let me look this up. {opening}" + "What could it be? Is it a bird? " * 30)
    given_out.flush()
    assert [segment.written for segment in given_out.segments] == ["Let me look this up."]
    given_out.feed(f"No, it is not. {closing}It is a plane.")
    given_out.end()
    assert [segment.written for segment in given_out.segments] == ["Let me look this up.", "It is a plane."]


@pytest.mark.parametrize(("opening", "closing"), [("<think>", "</think>"), ("One moment.\n\n```python\n", "\n```\n")])
def test_long_reasoning_and_long_code_change_nothing_of_what_follows(opening: str, closing: str) -> None:
    body = "What could it be? It **may be a bird. <think>Or not.</think> " * 60
    text = f"{opening}{body}{closing}\n**Well, it is a plane.** It has wings and it has wheels.\n\n- one\n- two"
    expected = plan(text, "English", {})
    assert opened(text).segments == expected
    given_out = OpenText("English", LANGUAGES, {})
    given_out.feed(text[: text.index(" wings")])
    assert given_out.segments == expected[:1]


def test_a_lone_closing_tag_takes_only_what_was_not_given_out() -> None:
    text = "I should think about it first. They want to know the time, so I say it.</think>It is five."
    assert [segment.written for segment in opened(text).segments] == ["I should think about it first.", "It is five."]


@pytest.mark.parametrize("text", ["", " \n ", "...", "<think>Hm.", "😀", "```python\nx = 1"])
def test_a_text_with_nothing_to_speak_has_no_segments(text: str) -> None:
    given_out = opened(text)
    assert not given_out.segments
    assert given_out.is_complete
    assert given_out.has_more is False


def test_whether_more_follows_is_unknown_only_after_a_flush() -> None:
    given_out = OpenText("English", LANGUAGES, {})
    assert state(given_out) == (0, None)
    given_out.feed("It was raining that day. Nobody came by")
    assert state(given_out) == (1, True)
    given_out.flush()
    assert state(given_out) == (2, None)
    given_out.feed(" ... ")
    assert state(given_out) == (2, None)
    given_out.feed("by car")
    assert state(given_out) == (2, True)
    given_out.end()
    assert state(given_out) == (3, False)
    given_out.feed(" and more")
    given_out.flush()
    assert len(given_out.segments) == 3


def test_a_segment_waits_while_the_lexicon_may_leave_nothing_of_the_rest() -> None:
    given_out = OpenText("English", LANGUAGES, {"unpronounceable": ""})
    given_out.feed("It was raining that day. Unpronounceable ")
    assert not given_out.segments
    given_out.end()
    assert [segment.spoken for segment in given_out.segments] == ["It was raining that day."]


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("It was raining that day. 今日は天気がいいですね。今日は天気がいいですね。", "English"),
        ("今日は天気がいいですね。It was raining that day, and so we went home again.", "Japanese"),
        ("Сегодня идёт дождь. It was raining.", "Russian"),
        ("1, 2, 3.", "English"),
    ],
)
def test_the_first_segment_decides_the_language_of_a_text_that_names_none(text: str, language: str) -> None:
    given_out = opened(text, None)
    assert given_out.language == language
    assert given_out.segments == plan(text, language, {})
    assert language == language_of(plan(text, "Auto", {})[0].written, LANGUAGES)


@pytest.mark.parametrize("unit", ["**a [b", "It is so. ", "<b>", "| a |\n", "<think>"])
def test_the_work_grows_with_the_text_and_not_faster(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    n_cleaned: list[int] = []

    def counted(text: str, language: str, actions: Actions = "speak") -> str:
        n_cleaned[-1] += len(text)
        return clean(text, language, actions)

    monkeypatch.setattr(draft, "clean", counted)
    for n in (1200, 2400):
        n_cleaned.append(0)
        opened((unit * n)[:n])
    assert n_cleaned[1] < 3 * n_cleaned[0] + 50_000
