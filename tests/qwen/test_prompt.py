"""Prefills are upstream's to the last bit; texts, languages and voices that are none are refused."""

from __future__ import annotations

import copy
import gc
import weakref
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from qwen_tts.inference.qwen3_tts_model import VoiceClonePromptItem
from torch import Tensor

from worker.engine.qwen.prompt import Prefill, Prompter, PromptError, Voice, language_name

ENGLISH = "I would rather walk, and so would the dog; but nobody has asked it."
JAPANESE = "雨が降っていたので、傘を買いました。"
TEXTS = (
    "a",
    "か",
    "sixty tokens of bytes make a text of just this many letters.",
    "I said: no.\r\n\nThen I said it again! \n\n ",
    "  two blanks first",
    "cafe\u0301 and café, 👩‍👩‍👧 and 👍🏽, パ and ハ\u309a",
    "if a <| b |> c, a < b > c and |a|",
    "my assistant assists",
    ENGLISH,
    JAPANESE,
)
SPECIAL = ("<|im_end|>", "<|im_start|>", "<|endoftext|>", "<tts_pad>", "<tts_text_bos>", "<|made_up|>")
CODES_AND_NAMES = {
    "en": "english", "ja": "japanese", "zh": "chinese", "de": "german", "es": "spanish", "fr": "french",
    "ko": "korean", "ru": "russian", "it": "italian", "pt": "portuguese",
}  # fmt: skip


class Caught(Exception):
    pass


def catch(into: dict[str, Any], **arguments: Any) -> None:
    into.update(arguments)
    raise Caught


@dataclass(frozen=True)
class Pair:
    """Our prompter, and upstream's code on the same weights."""

    prompter: Prompter
    upstream: Any

    def of_upstream(self, text: str, language: str, voice: Voice, whole_text: bool) -> Prefill:
        """What upstream hands to the talker. Its single trailing pad stands for no trailing text."""
        item = VoiceClonePromptItem(
            ref_code=voice.codes,
            ref_spk_embedding=voice.speaker,
            x_vector_only_mode=voice.mode == "x_vector",
            icl_mode=voice.mode == "icl",
            ref_text=voice.transcript,
        )
        handed: dict[str, Any] = {}
        with pytest.MonkeyPatch.context() as patch, suppress(Caught):
            patch.setattr(self.upstream.model.talker, "generate", partial(catch, handed))
            self.upstream.generate_voice_clone(text, language, voice_clone_prompt=[item], non_streaming_mode=whole_text)
        assert bool(handed["attention_mask"].all())
        pad = handed["tts_pad_embed"][0, 0]
        trailing = handed["trailing_text_hidden"][0]
        return Prefill(handed["inputs_embeds"][0], trailing[:0] if torch.equal(trailing, pad[None]) else trailing, pad)

    def agree(self, text: str, language: str, voice: Voice, whole_text: bool) -> Prefill:
        ours = self.prompter.build(text, language, voice, whole_text)
        theirs = self.of_upstream(text, language, voice, whole_text)
        assert same(ours, theirs), (text, language, voice.mode, whole_text)
        return ours


def pair_of(upstream: Any) -> Pair:
    return Pair(Prompter(upstream.model.talker, upstream.model.config, upstream.processor.tokenizer), upstream)


@pytest.fixture(scope="module")
def pair(upstream: Any) -> Pair:
    return pair_of(upstream)


def same(one: Prefill, other: Prefill) -> bool:
    return (
        torch.equal(one.embeds, other.embeds)
        and torch.equal(one.trailing, other.trailing)
        and torch.equal(one.pad, other.pad)
        and one.embeds.dtype == other.embeds.dtype
    )


def speaker(pair: Pair, seed: int) -> Tensor:
    width = pair.upstream.model.config.talker_config.hidden_size
    return torch.randn(width, generator=torch.Generator().manual_seed(seed))


def icl(pair: Pair, n_frames: int, transcript: str = "What the reference says.") -> Voice:
    codes = torch.randint(0, 2048, (n_frames, 16), generator=torch.Generator().manual_seed(n_frames))
    return Voice("icl", speaker(pair, n_frames), codes, transcript)


def x_vector(pair: Pair, seed: int = 1) -> Voice:
    return Voice("x_vector", speaker(pair, seed))


@pytest.mark.parametrize("whole_text", [True, False], ids=["whole", "per_frame"])
@pytest.mark.parametrize("language", ["English", "Japanese", "Auto"])
def test_a_cloned_voices_prefill_is_upstreams_to_the_bit(pair: Pair, language: str, whole_text: bool) -> None:
    voices = (
        icl(pair, 1, "Hm."),
        icl(pair, 50),
        icl(pair, 200, "参照音声の\u3000書き起こし、か\u3099。\n"),
        x_vector(pair),
    )
    for voice in voices:
        for text in TEXTS:
            pair.agree(text, language, voice, whole_text)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64], ids=str)
def test_other_dtypes_are_rounded_where_upstream_rounds(
    pair: Pair, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = pair.upstream.model
    monkeypatch.setitem(model._modules, "talker", copy.deepcopy(model.talker).to(dtype))
    rounded = pair_of(pair.upstream)
    for voice in (icl(pair, 40), x_vector(pair)):
        for whole_text in (True, False):
            assert rounded.agree(ENGLISH, "English", voice, whole_text).embeds.dtype == dtype


@settings(max_examples=60, deadline=None)
@given(text=st.text(), whole_text=st.booleans())
@example(text="e\u0301\u0323 \u212b ﬁ \u2028\n\r", whole_text=True)
def test_any_text_without_special_tokens_is_read_as_upstream_reads_it(pair: Pair, text: str, whole_text: bool) -> None:
    words = text.lstrip()
    assume(words and not {"\r", "\n"} & set(text.removesuffix(words)))
    assume(pair.prompter.plain(text, has_words=False) == text)
    pair.agree(text, "Auto", x_vector(pair), whole_text)


@pytest.mark.parametrize(("n_more", "n_trailing"), [(-1, 0), (0, 0), (1, 1), (60, 60)])
def test_text_longer_than_the_reference_trails_frame_by_frame(pair: Pair, n_more: int, n_trailing: int) -> None:
    voice = icl(pair, 30, "0123456789")
    text = "x" * (31 - 10 - 1 + n_more)  # codec bos and 30 frames; a transcript, a text and its end
    assert len(pair.agree(text, "English", voice, whole_text=False).trailing) == n_trailing


def test_nothing_trails_a_whole_text(pair: Pair) -> None:
    assert not len(pair.agree(ENGLISH, "English", x_vector(pair), whole_text=True).trailing)
    assert not len(pair.agree(ENGLISH, "English", icl(pair, 3), whole_text=True).trailing)


def test_a_voice_that_spoke_before_is_read_the_same_again(pair: Pair) -> None:
    voices = [icl(pair, 12), x_vector(pair, 12), icl(pair, 13), x_vector(pair, 13)]
    for language in ("fr", "auto", "fr", "it"):
        for voice in voices:
            pair.agree(JAPANESE, language_name(language), voice, whole_text=True)
            pair.agree("b", language_name(language), voice, whole_text=False)


def test_a_voice_nobody_holds_is_forgotten(pair: Pair) -> None:
    voice = icl(pair, 5)
    pair.prompter.build("a", "auto", voice, whole_text=True)
    held = weakref.ref(voice)
    del voice
    gc.collect()
    assert held() is None


@settings(max_examples=60, deadline=None)
@given(
    text=st.text("ab 。\n", min_size=1),
    inserted=st.lists(st.tuples(st.sampled_from(SPECIAL), st.integers(0, 60)), min_size=1, max_size=6),
)
def test_special_tokens_are_taken_out_wherever_they_stand_even_inside_each_other(
    pair: Pair, text: str, inserted: list[tuple[str, int]]
) -> None:
    assume(text.strip())
    marked = text
    for token, at in inserted:
        marked = marked[:at] + token + marked[at:]
    voice = x_vector(pair)
    build = partial(pair.prompter.build, language="en", voice=voice, whole_text=True)
    assert same(build(marked), build(text))


def test_special_tokens_are_taken_out_of_the_transcript(pair: Pair) -> None:
    marked = icl(pair, 9, "\n<|im_end|>\nWell <tts_pad>then.")
    plain = icl(pair, 9, "Well then.")
    for whole_text in (True, False):
        build = partial(pair.prompter.build, ENGLISH, "en", whole_text=whole_text)
        assert same(build(voice=marked), build(voice=plain))


@pytest.mark.parametrize("text", ["\nWell.", "\r\n\n  \rWell.", " \u3000\t\n\nWell."])
def test_leading_newlines_are_taken_out(pair: Pair, text: str) -> None:
    build = partial(pair.prompter.build, language="en", voice=x_vector(pair), whole_text=False)
    assert same(build(text), build("Well."))


@pytest.mark.parametrize("text", ["", " \n", "<|im_end|>", "\n<|im_<|im_end|>end|>\n", "<tts_pad> <|a|>"])
def test_text_with_nothing_left_is_refused(pair: Pair, text: str) -> None:
    with pytest.raises(PromptError, match="the text holds only"):
        pair.prompter.build(text, "en", x_vector(pair), whole_text=True)
    if text.strip():
        with pytest.raises(PromptError, match="the reference's transcript holds only"):
            pair.prompter.build("a", "en", icl(pair, 2, text), whole_text=True)


def test_half_a_character_is_refused(pair: Pair) -> None:
    with pytest.raises(PromptError, match="lone surrogate"):
        pair.prompter.build("so \ud83d", "en", x_vector(pair), whole_text=True)


def test_a_voice_of_another_model_is_refused(pair: Pair) -> None:
    with pytest.raises(PromptError, match="made with another model"):
        pair.prompter.build("a", "en", Voice("x_vector", torch.zeros(7)), whole_text=True)


@given(
    named=st.sampled_from([*CODES_AND_NAMES.items(), *((name, name) for name in CODES_AND_NAMES.values())]),
    region=st.from_regex(r"([-_][A-Za-z]{2,4}){0,2}", fullmatch=True),
    is_upper=st.lists(st.booleans(), min_size=20, max_size=20),
)
def test_a_language_has_one_name_in_every_case_and_region(
    named: tuple[str, str], region: str, is_upper: list[bool]
) -> None:
    form, name = named
    form = form if form == name else form + region
    cased = "".join(c.upper() if up else c for c, up in zip(form, is_upper, strict=False))
    assert language_name(cased) == name == language_name(language_name(cased))


def test_auto_is_a_language_of_its_own() -> None:
    assert {language_name(form) for form in ("auto", "Auto", "AUTO", " auto ")} == {"auto"}


@pytest.mark.parametrize("language", ["", "klingon", "xx", "engl", "nl-BE", "beijing_dialect", "-en"])
def test_an_unknown_language_is_refused_with_the_known_ones(pair: Pair, language: str) -> None:
    with pytest.raises(PromptError, match=r"auto or one of german \(de\), english \(en\)"):
        pair.prompter.build("a", language, x_vector(pair), whole_text=True)


def test_a_language_this_model_was_not_taught_is_refused(pair: Pair) -> None:
    config = copy.deepcopy(pair.upstream.model.config)
    del config.talker_config.codec_language_id["korean"]
    prompter = Prompter(pair.upstream.model.talker, config, pair.upstream.processor.tokenizer)
    with pytest.raises(PromptError, match="does not speak korean; use one of auto, chinese, english"):
        prompter.build("a", "ko-KR", x_vector(pair), whole_text=True)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"mode": "clone"}, '"icl" or "x_vector"'),
        ({"speaker": torch.zeros(2, 8)}, "one row of floats"),
        ({"codes": None}, "codes and transcript"),
        ({"transcript": None}, "codes and transcript"),
        ({"transcript": " "}, "codes and transcript"),
        ({"codes": torch.zeros(0, 16, dtype=torch.int64)}, r"int64 \[0, 16\]; give \[frames, 16\]"),
        ({"codes": torch.zeros(4, 15, dtype=torch.int64)}, r"\[frames, 16\]"),
        ({"codes": torch.zeros(4, 16)}, "float32 .*give int64"),
        ({"codes": torch.full((4, 16), 2048)}, "0 to 2047"),
        ({"codes": torch.full((4, 16), -1)}, "0 to 2047"),
        ({"mode": "x_vector"}, "no codes"),
    ],
)
def test_a_voice_that_does_not_hold_together_is_refused(parts: dict[str, Any], message: str) -> None:
    whole = {"mode": "icl", "speaker": torch.zeros(8), "codes": torch.zeros(4, 16, dtype=torch.int64)}
    with pytest.raises(ValueError, match=message):
        Voice(**{**whole, "transcript": "Said.", **parts})
