"""The splitter's laws, and what its segments look like."""

from __future__ import annotations

import unicodedata
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from worker.text import SegmentText, Splitter, clean, join, plan, split
from worker.text.split import FIRST_CHARS, MAX_CHARS

LANGUAGES = ["English", "Japanese", "Chinese", "German", "French", "Russian", "Auto"]
PIECES = [
    "Hello", "Dr.", "Mr", "e.g.", "U.S.", "p.m.", "No.", "Fig.", "3.14", "1,000", "12", "1.", "J.", "I.", "z.B.", "U",
    ".", "..", "...", "…", "!", "?", ",", ";", ":", "-", "—", "–", '"', "'", "(", ")", "[", "]", "«", "»", "“", "”",
    " ", " ", " ", "  ", "\n", "\n\n", "\t", "\r\n", "\u2028", "\u3000", "https://example.com/a.b?c=d", "a", "word",
    "こんにちは", "元気です", "日本語", "。", "！", "？", "、", "「", "」", "『", "』", "（", "）", "・", "ー", "っ",
    "３．１４", "안녕", "привет", "😀", "👨\u200d👩\u200d👧", "🇯🇵", "\u0301", "e\u0301", "か\u3099", "\u200d", "\ufe0f",
    "ñ", "ß", "antidisestablishmentarianism" * 3, "あ" * 60,
]  # fmt: skip
texts = st.lists(st.sampled_from(PIECES), max_size=60).map("".join) | st.text(max_size=400)
languages = st.sampled_from(LANGUAGES)


def without_blanks(text: str) -> str:
    return "".join(text.split())


@settings(max_examples=400)
@given(texts, languages, st.lists(st.integers(0, 400)), st.sampled_from([40, 90, MAX_CHARS]))
def test_a_text_cut_anywhere_gives_the_same_segments(text: str, language: str, cuts: list[int], max_chars: int) -> None:
    whole = Splitter(language, max_chars=max_chars)
    expected = whole.feed(text) + whole.flush()
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    splitter = Splitter(language, max_chars=max_chars)
    segments = [s for at, to in pairwise(edges) for s in splitter.feed(text[at:to])]
    assert segments + splitter.flush() == expected


@given(texts, languages)
@example("I have been told of antidisestablishmentarianism and of much more than that, 안녕. Hello", "English")
def test_a_text_fed_letter_by_letter_gives_the_same_segments(text: str, language: str) -> None:
    splitter = Splitter(language)
    segments = [segment for char in text for segment in splitter.feed(char)]
    assert segments + splitter.flush() == split(text, language)


@given(texts, languages)
def test_a_splitter_can_be_used_again_after_a_flush(text: str, language: str) -> None:
    splitter = Splitter(language)
    first = splitter.feed(text) + splitter.flush()
    assert splitter.feed(text) + splitter.flush() == first


@settings(max_examples=400)
@given(texts, languages)
def test_nothing_is_lost_and_nothing_added(text: str, language: str) -> None:
    assert without_blanks("".join(split(text, language))) == without_blanks(text)


@settings(max_examples=400)
@given(texts, languages, st.integers(40, 300))
@example("\u0301" * 500, "English", 100)
@example("1" * 500, "English", 100)
def test_no_segment_is_empty_or_longer_than_the_longest_allowed(text: str, language: str, longest: int) -> None:
    splitter = Splitter(language, max_chars=longest)
    for segment in splitter.feed(text) + splitter.flush():
        assert 0 < len(segment) <= longest
        assert segment == segment.strip()
        assert "\n" not in segment


@given(texts, languages)
def test_what_was_given_out_before_the_end_lags_by_a_bounded_lookahead(text: str, language: str) -> None:
    splitter = Splitter(language)
    given_out = without_blanks("".join(splitter.feed(text)))
    held_back = len(without_blanks(text)) - len(given_out)
    assert held_back < MAX_CHARS + 16


@given(st.text(alphabet="か\u3099\u309ae\u0301\u0308아🇯🇵👍🏽\u200d漢", min_size=50, max_size=500))
def test_a_text_without_any_mark_is_not_cut_inside_a_character(text: str) -> None:
    splitter = Splitter("Japanese", max_chars=40)
    segments = splitter.feed("x" + text) + splitter.flush()
    longest_cluster = max(
        len(run) for run in "".join("+" if unicodedata.combining(c) else " " for c in text).split(" ")
    )
    if longest_cluster < 10:
        assert not any(unicodedata.combining(segment[0]) for segment in segments)


@given(st.lists(st.integers(0, 10**15), min_size=20, max_size=100))
def test_a_number_is_never_cut(numbers: list[int]) -> None:
    text = "、".join(f"{number:,}円" for number in numbers) + "".join(f"値{n}.5" for n in numbers)
    spoken = [number for segment in split(text, "Japanese") for number in _numbers(segment)]
    assert spoken == _numbers(text)


def _numbers(text: str) -> list[str]:
    return "".join(char if char in "0123456789,." else " " for char in text).split()


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("English", "Yesterday afternoon Dr. Smith came by."),
        ("English", "We met the nice people of the U.S. Army there."),
        ("English", "It costs about 3.14 dollars on the market, or no. 7 too."),
        ("English", "There are many fruits, e.g. Braeburn apples or pears."),
        ("English", "I have read the books of J. K. Rowling twice."),
        ("English", 'When she cried "Stop that now!" he did not.'),
        ("English", "I was thinking about it... and then I forgot it."),
        ("English", "The meeting is at 5 p.m. in the large room."),
        ("English", "As you can see in Fig. 3 and on p. 12 of vol. 2 here."),
        ("German", "Wir trafen uns am 3. Oktober bei Hr. Müller, z.B. um acht."),
        ("French", "Hier soir nous avons vu M. Dupont et Mme. Durand."),
        ("Russian", "Мы были там, т.е. Иван и ул. Ленина в 2020 г. Москва"),
        ("Japanese", "彼は大きな声で「元気ですか？」と聞いた"),
    ],
)
def test_a_full_stop_inside_a_sentence_does_not_end_it(language: str, text: str) -> None:
    assert split(text, language) == [text]


@pytest.mark.parametrize(
    ("text", "is_end"),
    [
        ("それは本当に本当です!次はどうなるのですか", True),
        ("それは本当に本当です.次はどうなるのですか", True),
        ("その会社の名前はFoo.株式会社ではないです", False),
        ("その会社の値段は3.株式会社ではないですよ", False),
        ("えっとですね、そうですね…次はどうなるのですか", False),
    ],
)
def test_an_ascii_stop_may_end_a_japanese_sentence(text: str, is_end: bool) -> None:
    splitter = Splitter("Japanese", first_chars=60)
    assert (len(splitter.feed(text) + splitter.flush()) == 2) is is_end


def test_every_list_item_keeps_its_number() -> None:
    text = "Here is what you need to bring:\n1. Two warm blankets, and a big pillow for the night in the tent.\n"
    assert split(text + "2. Water for at least two days of walking.", "English") == [
        "Here is what you need to bring:",
        "1. Two warm blankets, and a big pillow for the night in the tent.",
        "2. Water for at least two days of walking.",
    ]


def test_english_sentences_become_segments() -> None:
    text = (
        'It was raining that day. "Where are you going?" she asked me, and I did not know what to say to her. '
        "So I said nothing at all! The rain went on and on, and nobody in the street looked up to see us."
    )
    assert split(text, "English") == [
        "It was raining that day.",
        '"Where are you going?" she asked me, and I did not know what to say to her.',
        "So I said nothing at all! The rain went on and on, and nobody in the street looked up to see us.",
    ]


def test_japanese_sentences_become_segments_without_blanks_between() -> None:
    text = "こんにちは、私はマキマです。今日は天気がいいですね。一緒に散歩に行きませんか？"
    text += "「はい、喜んで！」と言ってください。"
    assert split(text, "Japanese") == [
        "こんにちは、私はマキマです。",
        "今日は天気がいいですね。一緒に散歩に行きませんか？「はい、喜んで！」と言ってください。",
    ]


def test_a_long_first_sentence_gives_its_first_clause_away_early() -> None:
    text = "Although it was late, " + "and the night was dark and full of strange noises " * 4 + "we went."
    assert split(text, "English")[0] == "Although it was late,"


def test_a_short_greeting_does_not_stand_alone() -> None:
    text = "Hi, I am Makima. It is nice to meet you at last. How are you doing today, my friend?"
    assert split(text, "English")[0] == "Hi, I am Makima."


def test_a_short_last_sentence_stays_with_the_one_before() -> None:
    later = "But that was all I wanted to say to you today, and there is nothing else to be said."
    assert split(f"The first one sounds at once. {later} Bye.", "English") == [
        "The first one sounds at once.",
        f"{later} Bye.",
    ]


def test_the_first_sentence_sounds_however_short_the_rest_is() -> None:
    assert split("That was all I wanted to say to you. Bye.", "English") == [
        "That was all I wanted to say to you.",
        "Bye.",
    ]
    assert split("That was all I wanted, to say. Bye", "English") == ["That was all I wanted, to say.", "Bye"]
    assert split("Sure! Bye.", "English") == ["Sure! Bye."]


@given(st.text(alphabet="abc d, e. f! あ、い。", max_size=600))
def test_a_first_segment_is_short_but_not_clipped(text: str) -> None:
    segments = split(text, "Auto")
    if len(segments) > 1:
        weight = sum(2 if char >= "\u2e80" else 1 for char in segments[0])
        assert weight >= 14


def test_sound_can_start_before_a_long_text_has_arrived() -> None:
    splitter = Splitter("English")
    text = "This is the first sentence. And here comes the second one of them"
    n_fed = next(i for i, char in enumerate(text, 1) if splitter.feed(char))
    assert n_fed < len("This is the first sentence.") + 20
    assert n_fed < FIRST_CHARS


def test_a_long_sentence_breaks_at_a_clause_before_it_breaks_at_a_blank() -> None:
    text = "word " * 40 + "and so, " + "more " * 60
    assert split(text, "English")[0].endswith("and so,")


def test_a_newline_ends_a_segment_unless_the_sentence_goes_on() -> None:
    title = "The history of the great river valley"
    assert split(f"{title}\nIt begins in the north of it.", "English")[0] == title
    assert split(f"{title}\nbegins in the north of it.", "English") == [f"{title} begins in the north of it."]


def test_an_empty_text_has_no_segment() -> None:
    assert split("", "English") == []
    assert split(" \n\t ", "English") == []


def test_too_small_a_longest_segment_is_refused() -> None:
    with pytest.raises(ValueError, match="40 or more"):
        Splitter("English", max_chars=39)


def test_a_plan_is_cleaned_split_and_respelt() -> None:
    text = "# Hello\n\nI am **Makima** 😀, nice to meet you. Please tell me about GIF files and all the rest of it."
    assert plan(text, "English", {"gif": "jif"}) == (
        SegmentText("Hello. I am Makima, nice to meet you.", "Hello. I am Makima, nice to meet you."),
        SegmentText(
            "Please tell me about GIF files and all the rest of it.",
            "Please tell me about jif files and all the rest of it.",
        ),
    )


@pytest.mark.parametrize(
    ("written", "joined"),
    [
        (["Hello.", "I am Makima."], "Hello. I am Makima."),
        (["こんにちは。", "マキマです。"], "こんにちは。マキマです。"),
        (["「はい。」", "Yes."], "「はい。」Yes."),
        (["안녕하세요", "마키마입니다."], "안녕하세요 마키마입니다."),
        ([], ""),
    ],
)
def test_pieces_are_joined_as_their_script_is_written(written: list[str], joined: str) -> None:
    assert join([SegmentText(text, text.upper()) for text in written]) == joined


@pytest.mark.parametrize("text", ["", "😀🎉", "...", "!?", "**", "\n\n", "<|im_end|>", "「」。"])
def test_a_text_without_letters_and_digits_has_an_empty_plan(text: str) -> None:
    assert plan(text, "Auto", {}) == ()


@given(texts, languages)
def test_every_planned_segment_is_speakable(text: str, language: str) -> None:
    for segment in plan(text, language, {}):
        assert any(char.isalnum() for char in segment.spoken)


def test_cleaned_text_is_what_the_segments_are_made_of() -> None:
    text = clean("Some **bold** words; see [this page](https://example.com/x), please.\n\n- one\n- two")
    assert " ".join(split(text, "English")) == "Some bold words; see this page, please. one. two."
