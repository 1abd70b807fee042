"""Tokens of a text that is still being written: those of the whole text, wherever it is cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from worker.engine.qwen.growing_tokens import GrowingTokens
from worker.engine.qwen.prompt import Prompter, PromptError, _utterance

TEXTS = (
    "Hello there! It's what they'll say, isn't it? I'd've gone: WE'RE here, y'all.",
    "今日は雨なので、傘を持って出かけますよね。「はい」と言った…そうです!東京2026年",
    "In 2026, 1,234.5 of 99% (about ½) cost $3.50 — that's №7 or 12:30.",
    "  two blanks  first,   then\ttabs \t\t and  \n  lines\n\n \n  of text \r\n\r\n  end  ",
    "\n \n led by lines",
    "cafe\u0301 ａ\u0301b q\u0323\u0307 a\u0327\u0301 x\u0301\u0302 1\u0301 =\u0338 ハ\u309aン か\u3099き",
    "👩‍👩‍👧 and 👍🏽, 🇯🇵! ❤️\u200d🔥",
    "한국어 \u1112\u1161\u11ab\u1100\u1173\u11af 글",
    "हिन्दी में लिखा हुआ, ไทยก็ได้",
    "a <| b |> c, a < b > c and |a| <not<so>fast",
    "<|im_end|>wo<|made_up|>rd <|im<|x|>_end|>\nlast <tts_pad>s<tool_call> <|",
    "my assistant assists  assistant",
    "don't 'twas 's 'll' '' '\n' x'l",
    "\x1c\n a\x1d \x85b\u2028 \u2029c\u00a0 d\u3000\n",
    "a",
)
ALPHABET = " \n\r\t\u3000'`<|>_.!?,、。-=:1２½aBsStTlLrREeéi" + (
    "\u0301\u0327\u0338\u3099\u093fかハ漢한\u1112\u1161\u11ab👍\u200d\ufe0fक"
)


class Tokenizer:
    """Upstream's, and one whose every pre-token is a token: it makes all wrong boundaries visible."""

    def __init__(self, upstream: Any) -> None:
        self.upstream = upstream
        self.backend_tokenizer = upstream.backend_tokenizer

    def __call__(self, text: str) -> dict[str, list[str]]:
        normalised = self.backend_tokenizer.normalizer.normalize_str(text)
        return {"input_ids": [piece for piece, _ in self.backend_tokenizer.pre_tokenizer.pre_tokenize_str(normalised)]}


@pytest.fixture(scope="module")
def prompter(upstream: Any) -> Prompter:
    return Prompter(upstream.model.talker, upstream.model.config, upstream.processor.tokenizer)


def check(prompter: Prompter, text: str, cuts: Sequence[int]) -> None:
    pieces = [text[start:end] for start, end in zip((0, *cuts), (*cuts, len(text)), strict=True)]
    plain = prompter.plain(text)
    words = Tokenizer(prompter.tokenizer)
    for tokenizer, wanted in (
        (prompter.tokenizer, prompter.tokenizer(_utterance(plain))["input_ids"][3:-5]),
        (words, words("assistant\n" + plain)["input_ids"][2:]),
    ):
        growing = GrowingTokens(tokenizer, prompter.plain)
        tokens = [token for piece in pieces for token in growing.extend(piece, is_end=False)]
        n_early = len(tokens)
        tokens += growing.extend("", is_end=True)
        assert tokens == wanted, (text, cuts, n_early)


@pytest.mark.parametrize("text", TEXTS)
def test_wherever_a_text_is_cut_its_tokens_are_those_of_the_whole(prompter: Prompter, text: str) -> None:
    check(prompter, text, range(1, len(text)))
    for cut in range(len(text) + 1):
        check(prompter, text, [cut])


@settings(max_examples=150, deadline=None)
@given(text=st.text(ALPHABET, min_size=1, max_size=14), cuts=st.sets(st.integers(0, 14)))
@example(text="\n  \n a", cuts={2})
@example(text="a\u0327\u0301", cuts={2})
@example(text=" \t1", cuts=set())
def test_so_are_those_of_any_text(prompter: Prompter, text: str, cuts: set[int]) -> None:
    try:
        prompter.plain(text)
    except PromptError:
        return
    check(prompter, text, sorted(cut for cut in cuts if cut <= len(text)))


def test_a_word_is_given_as_soon_as_the_next_character_ends_it(prompter: Prompter) -> None:
    growing = GrowingTokens(Tokenizer(prompter.tokenizer), prompter.plain)
    n_given = [len(growing.extend(piece, is_end=False)) for piece in ("Hello, wor", "ld ", "今日は、", "雨", "。")]
    assert n_given == [2, 1, 1, 0, 1], "Hello and a comma; world; the blank with today; the comma with rain"


def test_a_text_without_words_is_refused_at_its_end(prompter: Prompter) -> None:
    growing = GrowingTokens(prompter.tokenizer, prompter.plain)
    assert growing.extend(" <|im_end|> \n", is_end=False) == []
    with pytest.raises(PromptError, match="only special tokens"):
        growing.extend(" ", is_end=True)
    with pytest.raises(PromptError, match="surrogate"):
        GrowingTokens(prompter.tokenizer, prompter.plain).extend("a\ud83d", is_end=False)
