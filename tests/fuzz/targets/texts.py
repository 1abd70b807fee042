"""The way of a job's text: cleaned, split into segments, respelt, budgeted, spoken."""

from __future__ import annotations

import unicodedata
from functools import cache
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from schemas import LANGUAGES
from tests.fuzz.strategies import CHARACTERS, Change, several, splices, strings
from tests.fuzz.target import Target, packed, require, unpacked
from worker.engine.preview.espeak import Espeak, Request
from worker.engine.preview.synthesiser import wait_for_samples
from worker.engine.preview.voices import ESPEAK_VOICES
from worker.text import Lexicon, Splitter, clean, frame_budget, is_speakable, join, plan, split
from worker.text.language import language_of_auto
from worker.text.split import MAX_CHARS

MAX_TEXT_CHARS = 100_000  # the most that a setting allows
SEEDS = (
    "Hello, I am Makima. Tell me what you would like to hear.",
    "こんにちは。マキマです。「はい」と言って、ﾜﾝ！３．５％ です…",
    "# Title\n\n* one\n* **two** `three`\n\n| a | b |\n|---|---|\n> [a](http://www.b.org/?c=d#e)\n```py\nx = 1\n```",
    "Dr. Smith paid 1,234.56 $ to e.g. Mr. X at 7 p.m. — then left...  It’s 10:30; see www.example.com, ok?! 👍🏽🇯🇵 #️⃣",
    '<speak>Hi <break time="1s"/> there</speak> <|im_start|> <tts_pad> \\*no\\* _a_ ~~b~~ __init__ 2**3 a*b*c [^1] <http://x.y>',
    "Das ist Nr. 5 am 3. Mai. Привет, г. Москва и т. д. ¿Qué tal? Ça va… 你好，世界！안녕하세요.",
)
MARKUP = (
    "*", "**", "_", "`", "```", "~~", "#", "# ", "> ", "- ", "|", "| ", "[", "](", "]", "(", ")", "[a](b.c)", "![",
    "<", ">", "<b>", "</b>",
    "<|", "|>", "<|a|>", "<tts_x>", "\\", "\\*", "https://", "www.", "http://a@", "mailto:", "://", ".", "..",
    "...", "…", "。", "、", "!?", ",",
    "--", "—", "–", "\n", "\n\n", " ", "\t", "\r", "=", "---", ": ", ";", "1.", "1,", "Dr. ", "z.B.", "「", "」",
    "\"", "'", "a", "A.", "あ",
    "한", "9", "．", "，", "&amp;", "<a x=1 ", "<https://a", "[^a]", "[x]: /", "「」。",
)  # fmt: skip


LEXICON = [["Makima", "マキマ"], ["New York", "NY"], ["c++", "C plus plus"], ["です", "desu"]]


def seeds() -> list[bytes]:
    return [
        packed([language, text, words]) for text in SEEDS for language, words in (("English", LEXICON), ("Auto", []))
    ]


any_characters = st.characters(exclude_categories=["Cs"]) | st.characters(max_codepoint=0x3000)
marks = st.lists(st.sampled_from(MARKUP), min_size=1, max_size=8).map("".join)
units = st.lists(st.sampled_from((*CHARACTERS, *MARKUP, *MARKUP)), min_size=1, max_size=6).map("".join)
lexicons = st.sampled_from(([], LEXICON, LEXICON)) | st.lists(st.lists(strings, min_size=2, max_size=2), max_size=3)


def _blow_up(unit: str, n: int, at: int, end: str) -> Change[str]:
    """A few characters or marks again and again, up to the limit, which shows cost that is not linear."""
    return lambda text: text[:at] + unit * (n // len(unit)) + end


lengths = st.sampled_from((20, 60, 300, 300, 2000, 2000, 5000, 5000, 5000, MAX_TEXT_CHARS))
blown_up = st.builds(_blow_up, units, lengths, st.integers(0, 40), st.sampled_from(("", "x", "a\n", " b", SEEDS[0])))
spliced = splices(strings | marks | any_characters | st.just(""))


def a_text(max_chars: int = MAX_TEXT_CHARS) -> SearchStrategy[bytes]:
    texts = several(st.sampled_from(SEEDS), spliced, blown_up).map(lambda text: text[:max_chars])
    return st.tuples(st.sampled_from(LANGUAGES), texts, lexicons).map(packed)


def parse_text(data: bytes, folder: Path) -> bool:
    language, text, entries = unpacked(data)
    cleaned = clean(text)
    require(clean(cleaned) == cleaned, "cleaning a clean text changes it")
    require(not cleaned or is_speakable(cleaned), "a clean text that says nothing")
    require(cleaned.isascii() or unicodedata.is_normalized("NFC", cleaned), "a clean text is not in NFC")
    require(len(cleaned) <= 4 * len(text) + 16, "cleaning blows a text up")
    odd_ones = {
        char for char in cleaned if unicodedata.category(char) in ("Cc", "Cs", "Co", "Zl", "Zp") and char != "\n"
    }
    require(not odd_ones, f"a clean text has {odd_ones!a:.60}")
    segments = split(cleaned, language)
    require(_letters("".join(segments)) == _letters(cleaned), "splitting loses or adds characters")
    require(all(0 < len(segment) <= MAX_CHARS for segment in segments), "a segment is empty or too long")
    require(_fed_in_parts(cleaned, language) == segments, "segments depend on how the text was cut")
    lexicon = _lexicon(entries)
    pieces = plan(text, language, lexicon or {})
    require(len(join(pieces)) <= 2 * len(cleaned), "the pieces together are longer than their text")
    for piece in pieces:
        require(
            75 <= frame_budget(piece.spoken, language) <= 75 + len(piece.spoken) * 19, "a budget out of all proportion"
        )
    return bool(pieces)


def _lexicon(entries: list[list[str]]) -> Lexicon | None:
    try:
        return Lexicon(dict(map(tuple, entries)))  # type: ignore[arg-type]
    except ValueError:  # what a card with such a word is refused with
        return None


def _letters(text: str) -> str:
    return "".join(text.split())


def _fed_in_parts(text: str, language: str) -> list[str]:
    splitter, n = Splitter(language), max(7, len(text) // 40)
    fed = [segment for at in range(0, len(text), n) for segment in splitter.feed(text[at : at + n])]
    return fed + splitter.flush()


TEXT = Target("text", parse_text, seeds, a_text, (), weight=8, cpu_s=4.0)


@cache
def espeak() -> Espeak:
    return Espeak()


def speak(data: bytes, folder: Path) -> bool:
    """What a job's text becomes is spoken to its end by the native library, and no byte of it is a command to it."""
    language, text, entries = unpacked(data)
    for piece in plan(text, language, _lexicon(entries) or {}):
        spoken = language_of_auto(piece.spoken, ("Japanese", "English")) if language == "Auto" else language
        request = Request(piece.spoken, ESPEAK_VOICES[spoken])
        said = request.encoded().decode()
        require(not any(unicodedata.category(char) == "Cc" for char in said), "a control character reaches espeak-ng")
        speech = espeak().speak(request)
        try:
            while not speech.ended:
                wait_for_samples([speech], 1.0)
                speech.read()
        finally:
            speech.close()
    return True


SPOKEN = Target(
    "spoken",
    speak,
    seeds,
    lambda: a_text(400),
    (),
    weight=0.5,
    allowed=("subprocess.Popen", "os.fork", "os.posix_spawn"),
)
