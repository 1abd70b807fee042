"""Texts, on the way that every accepted job's goes: cleaned, cut into segments, respelt, budgeted, spoken."""

from __future__ import annotations

import unicodedata
from functools import cache
from pathlib import Path
from random import Random

from schemas import LANGUAGES
from tests.fuzz import odd
from tests.fuzz.mutate import several
from tests.fuzz.target import Target, packed, require, unpacked
from worker.engine.preview.espeak import Espeak, Request
from worker.engine.preview.synthesiser import wait_for_samples
from worker.engine.preview.voices import ESPEAK_VOICES, spoken_language
from worker.text import Lexicon, Splitter, clean, frame_budget, is_speakable, join, plan, split
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


def seeds() -> list[bytes]:
    lexicon = [["Makima", "マキマ"], ["New York", "NY"], ["c++", "C plus plus"], ["です", "desu"]]
    return [
        packed([language, text, pairs]) for text in SEEDS for language, pairs in (("English", lexicon), ("Auto", []))
    ]


def a_text(draw: Random, data: bytes, other: bytes) -> bytes:
    language, text, lexicon = unpacked(data)
    _, another, other_lexicon = unpacked(other)
    if draw.random() < 0.2:
        text = text[: draw.randrange(len(text) + 1)] + another[draw.randrange(len(another) + 1) :]
    text = several(draw, text, CHANGES)[: MAX_TEXT_CHARS if draw.random() < 0.02 else 5000]
    if draw.random() < 0.1:
        lexicon = [*other_lexicon, [odd.string(draw), odd.string(draw)]]
    return packed([draw.choice(LANGUAGES) if draw.random() < 0.4 else language, text, lexicon[-8:]])


def _at(draw: Random, text: str) -> int:
    return draw.randrange(len(text) + 1)


def _characters(draw: Random, text: str) -> str:
    at = _at(draw, text)
    return text[:at] + odd.string(draw) + text[at + draw.choice((0, 0, 1, 5)) :]


def _markup(draw: Random, text: str) -> str:
    at = _at(draw, text)
    return text[:at] + "".join(draw.choices(MARKUP, k=draw.choice((1, 2, 5, 40)))) + text[at:]


def _any_character(draw: Random, text: str) -> str:
    code = draw.choice((draw.randrange(0x110000), draw.randrange(0x3000), draw.randrange(0x300, 0x370)))
    at = _at(draw, text)
    return text[:at] + ("" if 0xD800 <= code < 0xE000 else chr(code)) * draw.choice((1, 1, 3)) + text[at:]


def _part(draw: Random, text: str) -> str:
    start = _at(draw, text)
    end = start + draw.choice((1, 5, 30, 300))
    return draw.choice(
        (text[:start] + text[end:], text[:end] + text[start:], text[start:end] + text[:start] + text[end:])
    )


def _blown_up(draw: Random, text: str) -> str:
    """A few characters or marks again and again, up to the limit: what is not linear takes for ever."""
    units = (odd.CHARACTERS, MARKUP, MARKUP)
    unit = "".join(draw.choice(draw.choice(units)) for _ in range(draw.choice((1, 1, 2, 2, 3, 6))))
    long = unit * (draw.choice((20, 60, 300, 2000, 5000, MAX_TEXT_CHARS)) // len(unit))
    at = _at(draw, text)
    return draw.choice((text[:at], "")) + long + draw.choice((text[at:], "", "x", "a\n", " b"))


CHANGES = (_characters, _characters, _markup, _markup, _any_character, _part, _blown_up)


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


TEXT = Target(
    place="tests.fuzz.targets.texts:TEXT",
    seeds=seeds,
    mutate=a_text,
    parse=parse_text,
    declared=(),
    weight=8,
    modules=tuple(
        f"worker.text.{name}" for name in ("boundary", "budget", "characters", "clean", "lexicon", "markup", "split")
    ),
    cpu_s=4.0,
)


@cache
def espeak() -> Espeak:
    return Espeak()


def a_short_text(draw: Random, data: bytes, other: bytes) -> bytes:
    language, text, lexicon = unpacked(a_text(draw, data, other))
    return packed([language, text[:400], lexicon])


def speak(data: bytes, folder: Path) -> bool:
    """What a job's text becomes is spoken to its end by the native library, and no byte of it is a command to it."""
    language, text, entries = unpacked(data)
    for piece in plan(text, language, _lexicon(entries) or {}):
        spoken = spoken_language(piece.spoken, ("Japanese", "English")) if language == "Auto" else language
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
    place="tests.fuzz.targets.texts:SPOKEN",
    seeds=seeds,
    mutate=a_short_text,
    parse=speak,
    declared=(),
    weight=0.5,
    allowed=("subprocess.Popen", "os.fork", "os.posix_spawn"),
)
