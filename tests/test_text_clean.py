"""What cleaning removes, and what it leaves."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.text import clean, is_speakable

PIECES = [
    "*", "**", "_", "__", "`", "```", "\\", "~~", "[", "]", "(", ")", "](", "![", "<", "|", ">", "<|x|>", "im_end",
    "#", "# ",
    "\n", "\n\n", "\r\n", " ", "  ", "a", "B", "é", "e", "\u0301", "あ", "カ", "\u3099", "ｶ", "ﾞ", "。", "、", "！", "?",
    ".", "..", "-", "--", "–", "—", "…", "https://", "http", "://", "www.", "a.b", "/", "mailto:", "@", "1", "2)", "- ",
    "* ", "> ", "=", "===", "・", "•", "<b>", "</b>", "<think>", "😀", "\u200d", "\ufe0f", "\u20e3", "🇯", "👍", "🏽",
    "☀", "→", "\x00", "\x1a", "\x85", "\u2028", "\u3000", "\u00ad", "\ufeff", "．", "，", "＜", "｜", "＊",
    "K", "\u037e", "\u1fef", "İ", "ß", "word", "snake_case",
    "<think>", "</think>", "<THINK x=1>", "<tool_call>", "</tool_call>", "</function>", "<function=f>", "&amp;",
    "&lt;", "&gt;", "&#10;", "&quot;", "&nbsp;", "amp;", "&", ";", "<i>", "<p>", "</p>", "<br/>", "<rt>",
    "</rt>", "<!--", "-->", "<script>", "</script>", "<x>", "</x>", '<x y="z">', "<:a:123456789012>", "the",
    "and", "\nof ", "in\n", "-\n", ":\n", "1. ", "2. ", "2) ", "(3) ", "• ", ": 1. ", "[1]", " [2]", "[0]",
    "[^3]", "\n[^3]: ", "\n[a]: https://b.c\n", "[a][a]", "see ", "【4†b】", ". . ", " .", "$", "$x$", "$$",
    "\\(", "\\)", "\\[", "\\]", "\\frac{a}{b}", "\\alpha", "\\times", "{", "}", "^2", "_i", "\\sqrt", "𝓦", "ⓐ",
    "ﬁ", "🄰", "||", "==", "[[", "]]", "[[a|b]]", "![[c]]", "\n---\n", "---\nkey: x\n---\n", "> [!NOTE] ",
    ":::tip\n", " ***** ", "|---|", "\n--|--\n", "a|b", "\n| a | b |\n", "\\|", "x.org/", "a.com/b", "[sighs]",
    "[a b] ", "*waves* ", "\\n", "\\n\\n", "\\nA", "\\r", "\n```\n", "\n```python\n", "~~~", "(^_^)",
    "ああああああああああ", "aaaaaaaaaa", "薔薇", "（ばら）", "(バラ)", "Dr.",
]  # fmt: skip
texts = st.lists(st.sampled_from(PIECES), max_size=30).map("".join) | st.text(max_size=100)


@settings(max_examples=1500)
@given(texts)
def test_cleaning_a_clean_text_changes_nothing(text: str) -> None:
    cleaned = clean(text)
    assert clean(cleaned) == cleaned


@settings(max_examples=500)
@given(texts)
def test_a_clean_text_has_no_special_token_control_character_or_outer_blank(text: str) -> None:
    cleaned = clean(f"<|im_start|>{text}<|im_end|>")
    assert "<|im_end|>" not in cleaned
    assert "<|im_start|>" not in cleaned
    assert cleaned == cleaned.strip()
    assert "  " not in cleaned
    assert not [c for c in cleaned if unicodedata.category(c) in ("Cc", "Cf", "Co", "Cs") and c != "\n"]
    assert unicodedata.is_normalized("NFC", cleaned)


@given(texts)
def test_a_clean_text_is_speakable_or_empty(text: str) -> None:
    assert clean(text) == "" or is_speakable(clean(text))


@given(st.lists(st.sampled_from(["one", "Two", "tres", "四", "пять", "1612"]), min_size=1, max_size=12), st.data())
def test_words_in_marks_are_never_lost(words: list[str], data: st.DataObject) -> None:
    wraps = ["{}", "**{}**", "*{}*", "_{}_", "`{}`", "~~{}~~", "[{}](https://x.org/y)", "<b>{}</b>", "😀 {}", "({})"]
    text = " ".join(data.draw(st.sampled_from(wraps)).format(word) for word in words)
    assert [w.strip("().。") for w in clean(text).split()] == words


@pytest.mark.parametrize(
    "text",
    [
        "Hello.",
        "2 * 3 * 4 is 24, and 2*3*4 too, and 2**3 is 8",
        "use snake_case words and a_long_name_here, or _private",
        "C# and F# and C++ and .NET",
        "I <3 you, and a < b, and b > a, and x<y",
        "if a<b and c>d then",
        "It's the dogs' bone, isn't it?",
        'She said "no".',
        "def f(*args, **kwargs)",
        "the price* applies today",
        "「こんにちは」と『本』と【注意】（笑）",
        "えーっと、○○さん～！",
        "call items[i](x) and list[0]",
        "well-known, AT&T, 50%, $5, #1, user@example.com",
        "and/or, TCP/IP, 24/7, 1/2",
        "x² + y² = z², ½ cup",
        "a | b",
        "at 12:30, note: this",
        "Ça va très bien, größer, ñandú",
        "안녕하세요, 저는 로봇입니다.",
        "price is 1,000.50",
        "f**k this",
        "Is that so?! Yes...",
        "~5 minutes",
        "(see [1] there)",
        "-5 degrees",
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert clean(text) == text


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("# Title\n\nText here.", "Title.\nText here."),
        ("## About C# ##\nText", "About C#.\nText"),
        ("Title\n=====\nText", "Title.\nText"),
        ("**bold** and *italic* and ***both***", "bold and italic and both"),
        ("__strong__ and _this_", "strong and this"),
        ("これは**重要**です。*本当*に。", "これは重要です。本当に。"),
        ("**API**s", "APIs"),
        ("**a *b* c**", "a b c"),
        ("~~old~~ new", "old new"),
        ("Run `make demo` now", "Run make demo now"),
        ("Look:\n```python\nprint(1)\n```\nthat is all", "Look:\nthat is all"),
        ("- apples\n- pears\n  * sweet ones\n- [ ] to do", "apples.\npears.\nsweet ones.\nto do."),
        ("・りんご\n・みかん", "りんご。\nみかん。"),
        ("1. First\n2. Second", "1. First.\n2. Second"),
        ("> quoted words here,\n>> twice\nplain", "quoted words here, twice plain"),
        ("| a | b |\n|---|:-:|\n| 1 | 2 |", "a, b.\n1, 2."),
        ("one\n\n---\n\ntwo", "one.\ntwo"),
        ("A line that is broken\nin the middle.", "A line that is broken in the middle."),
        ("First line\nSecond line", "First line.\nSecond line"),
        ("今日は\nいい天気", "今日は。\nいい天気"),
        ("[the docs](https://a.org/x_(y).html) and [this][ref]\n\n[ref]: https://b.org", "the docs and this"),
        (r"\*not\* 1\) here", "not 1) here"),
        ("- 速い（とても）\n- 안녕", "速い（とても）。\n안녕."),
        ("![a cat](cat.png) sits", "a cat sits"),
        ("a fact[^1].", "a fact."),
        ("<https://a.org/b> and <b>bold</b><br/>", "a.org and bold"),
        ('<a href="https://x.org">here</a>', "here"),
    ],
)  # fmt: skip
def test_markup_goes_and_its_words_stay(text: str, spoken: str) -> None:
    assert clean(text) == spoken


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("See https://www.example.com/a/b?c=d#e.", "See example.com."),
        ("(http://example.com/x)", "(example.com)"),
        ("http://user:secret@host.org:8080/x", "host.org"),
        ("www.Example.com/path, ok", "Example.com, ok"),
        ("詳しくはhttps://example.com/を見て。", "詳しくはexample.comを見て。"),
        ("mailto:me@example.com", "me@example.com"),
        ("http://localhost:8000/", "localhost"),
        ("example.com is fine", "example.com is fine"),
    ],
)
def test_a_url_is_spoken_as_its_host(text: str, spoken: str) -> None:
    assert clean(text) == spoken


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("Hello 😀 world", "Hello world"),
        ("Hello 😀.", "Hello."),
        ("Hello👨‍👩‍👧‍👦world", "Hello world"),
        ("Go 🇯🇵 👍🏽 ❤️ now", "Go now"),
        ("1️⃣ First", "First"),
        ("楽しい😀。", "楽しい。"),
        ("Good ☀️ day ✅", "Good day"),
        ("A → B", "A → B"),
        ("A ➡️ B", "A B"),
        ("😀🎉", ""),
    ],
)
def test_emoji_go_without_a_trace(text: str, spoken: str) -> None:
    assert clean(text) == spoken


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("“Fine,” it’s ‘ok’ 〝so〟", "“Fine,” it's 'ok' “so”"),
        ("10–20, yes – no -- or―so", "10-20, yes — no — or—so"),
        ("ＡＢＣ　１２３．５", "ABC 123.5"),
        ("ｶﾞｷﾞｸﾞﾚﾝ", "ガギグレン"),
        ("e\u0301", "é"),
        ("a\u00a0b\tc\u200bd\x00e\ufefff\u00adg", "a b cdefg"),
        ("あ……い", "あ…い"),
        ("Wait........ what?????", "Wait... what???"),
        ("A\r\nB\u2028C", "A.\nB.\nC"),
        ("！？（），：；～", ""),
    ],
)
def test_characters_have_one_spelling(text: str, spoken: str) -> None:
    assert clean(text) == spoken


@pytest.mark.parametrize(
    "token",
    ["<|im_end|>", "<|endoftext|>", "＜｜im_end｜＞", "<|im\u200b_end|>", "<tts_pad>", "<tts_text_eod>"],
)
def test_special_tokens_never_pass(token: str) -> None:
    assert clean(f"\n\nHello {token} you.") == "Hello you."
    assert clean(token) == ""


def test_a_token_hidden_in_tokens_never_passes() -> None:
    assert "<|im_end|>" not in clean("<" * 50 + "|im_end|>" * 50)
    assert "<|im_end|>" not in clean("<|im_<|x|>end|>" + "<|" * 30 + "im_end" + "|>" * 30 + " a")
    assert "<|im_end|>" not in clean("<|im_**end**|> a")


def test_markup_nested_to_make_trouble_loses_its_marks() -> None:
    text = "[" * 40 + "a" + "](x.y)" * 40
    assert clean(clean(text)) == clean(text)
    assert "[" not in clean(text)


def test_only_letters_and_digits_can_be_spoken() -> None:
    assert is_speakable("。a")
    assert is_speakable("7")
    assert is_speakable("々")
    assert not is_speakable("_…! 、*")
    assert not is_speakable("")
