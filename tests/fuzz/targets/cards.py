"""Voice cards in TOML, and the names of their folders."""

from __future__ import annotations

import os
import tomllib
from functools import cache
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.fuzz.strategies import Change, edited, indices, replaced, several, strings
from tests.fuzz.target import Target, packed, require, unpacked
from worker.text import frame_budget, plan
from worker.voices.card import CARD_FILE, LANGUAGES, MAX_CARD_BYTES, Card, CardError, load_card
from worker.voices.registry import Registry, RegistryError

VOICES = Path(__file__).resolve().parents[3] / "voices"
NAME = "alice"
EVERY_FIELD = """\
name = "alice"
description = "An example"
languages = ["Japanese", "English"]
mode = "x_vector"
reference = "takes/reference.wav"
reference_sha256 = "8CDFAB528D182A2D2DD95C7B4A5A9269434730A5CD3E95C3990DB20F10C2A7EC"
transcript = '''Every word of it.'''
licence = "ours"
consent = "given"

[sampling]
temperature = 0.7
top_k = 20
top_p = 0.9
repetition_penalty = 1.1

[lexicon]
Makima = "マキマ"
"C++" = "C plus plus"
'New York' = "ニューヨーク"

[preview]
pitch = 45
rate_wpm = 160
espeak_voices = { English = "en-us+f3", German = "de" }
"""
VALUES = (
    "true", "[]", "[[]]", "{}", "''", '""', "0", "-0", "+1", "1_0", "0x7f", "0o7", "0b1", "1e3", "nan", "-inf", "inf",
    "1.5", "1979-05-27", "07:32:00", "1979-05-27T07:32:00Z", '"""\n\\\n"""', "'''\n'''", r'"\u0000"', r'"\ud800"',
    r'"\U00110000"', r'"\u200b"', '"🎉"', '"../x"', '"/etc/passwd"', r'"a\\b"', '"reference.wav/"', '"."', r'"\n"',
    '["English", "English"]', '["English"]', '["Auto"]', "[1]", "{ a = 1 }", "{ a.b.c = 1 }", '{ "" = "" }',
    r'{ "\u200b" = "x" }', "9" * 400, "9" * 5000, "1" + "0" * 300 + ".5", "[" * 50 + "]" * 50, "[" * 2000, "{a=" * 50,
    "'" + "x" * 5000 + "'",
)  # fmt: skip
KEYS = (
    "name", "folder", "reference_problem", "reference_warnings", "lexicon", "preview", "sampling", "sampling.top_k",
    "preview.pitch", "preview.espeak_voices.Klingon", "a.b.c.d", '""', "''", r'"a\u0000"', "'🎉'", "bare-key_1",
    "[lexicon]", "[preview]", "[[lexicon]]", "[a.b]", "[[a.b]]", "x y", "=", "#", "__class__", "model_config",
)  # fmt: skip
UNITS = (
    "a.", '"a".', "'a' . ", "[a]\n", "[[a]]\n", "[a.b]\n", "#\n", "\n", " ", "a=1\n", "x=[", "{a=", "[1,", '"', "'",
    "'''", '"""', "\\", "a={b=1}\n", '"\\u0041"', "[a.a.a.a.a.a.a.a.a.a]\n", "9", "1_", "a", "あ",
)  # fmt: skip
Lines = list[str]


@cache
def cards() -> list[bytes]:
    shipped = [(VOICES / name / CARD_FILE).read_text("utf-8") for name in ("makima", "placeholder")]
    renamed = [card.replace('name = "', 'name = "alice"\n#', 1) for card in shipped]
    return [text.encode() for text in (EVERY_FIELD, *renamed)]


values = st.sampled_from(VALUES) | strings.map(lambda string: f'"{string}"')
keys = st.sampled_from(KEYS)
tables = st.sampled_from(("[lexicon]", "[preview]", "[sampling]", "[a.b]", "[preview.espeak_voices]"))
numbered = st.builds(
    lambda n, stem: "\n".join(f"{stem}{number} = 'x'" for number in range(n)),
    st.sampled_from((3, 30, 300, 6000)),
    st.just("k") | st.sampled_from(KEYS),
)
blown_up = st.builds(
    lambda unit, n, end: unit * (n // len(unit)) + end,
    st.sampled_from(UNITS),
    st.sampled_from((40, 400, 4000, MAX_CARD_BYTES)),
    st.sampled_from(("", "a=1", "1", "]")),
)


def _change_line(at: int, how: str, new: str) -> Change[Lines]:
    """A line with another value or key, left out, doubled or followed by a new one."""

    def change(lines: Lines) -> Lines:
        line = lines[at % len(lines)]
        key, _, value = line.partition("=")
        by = {"value": [f"{key}={new}"], "key": [f"{new}={value}"], "drop": [], "double": [line, line]}
        return replaced(lines, at, *by.get(how, [line, new])) or [""]

    return change


line_changes = st.one_of(
    st.builds(_change_line, indices, st.just("value"), values),
    st.builds(_change_line, indices, st.sampled_from(("key", "drop", "double")), keys),
    st.builds(_change_line, indices, st.just("new"), numbered | blown_up | tables),
)


def a_card() -> SearchStrategy[bytes]:
    lines = several(st.sampled_from([card.decode().split("\n") for card in cards()]), line_changes)
    written = lines.map(lambda changed: "\n".join(changed).encode()[: MAX_CARD_BYTES + 1])
    return written | edited(*cards())


def lay_card(data: bytes, folder: Path) -> None:
    (folder / NAME).mkdir()
    (folder / NAME / CARD_FILE).write_bytes(data)


def parse_card(data: bytes, folder: Path) -> bool:
    check_card(load_card(folder / NAME), NAME)
    return True


def check_card(card: Card, name: str) -> None:
    """What every later reader of a card relies on."""
    table = tomllib.loads((card.folder / CARD_FILE).read_text("utf-8"))
    require(card.name == name == table["name"], "a card of another name")
    require(0 < len(card.languages) <= len(LANGUAGES), "a language twice, or none")
    require(set(card.languages) <= set(LANGUAGES), "a language that is none")
    require(0 <= card.sampling.temperature <= 2 and 1 <= card.sampling.top_k <= 2048, "sampling is out of range")
    require(0 < card.sampling.top_p <= 1 and 1 <= card.sampling.repetition_penalty <= 2, "sampling is out of range")
    require(0 <= card.preview.pitch <= 99 and 80 <= card.preview.rate_wpm <= 450, "preview is out of range")
    if card.reference_path is not None:
        inside = card.reference_path.resolve().is_relative_to(card.folder.resolve())
        require(inside, "a reference outside of its folder")
    for piece in plan("Hello, I am Makima. New York, C++.", card.languages[0], card.lexicon):
        frame_budget(piece.spoken, card.languages[0])


CARD = Target("card", parse_card, cards, a_card, (CardError,), weight=8, lay=lay_card, message_chars=8000)


def folders() -> list[bytes]:
    ours, makima, _ = cards()
    return [packed([[NAME.encode(), ours]]), packed([[b"makima", makima], [b".git", b""], [NAME.encode(), ours]])]


FOLDER_NAMES = (
    b"", b"a b", b"\xff", "声".encode(), b"a\n", b"-a", b"a" * 64, b"a" * 65, b"a" * 255, b"__pycache__", b".", b"..",
    b"[red]",
)  # fmt: skip


def a_folder() -> SearchStrategy[bytes]:
    known = (NAME.encode(), b"makima", b".git", b"placeholder")
    names = st.sampled_from((*known, *known)) | st.sampled_from(FOLDER_NAMES) | edited(*known)
    voices = st.tuples(names, st.sampled_from([*cards(), b""]) | a_card())
    return st.lists(voices, min_size=1, max_size=8).map(packed)


def lay_folder(data: bytes, folder: Path) -> None:
    for name, card in unpacked(data):
        voice = folder / os.fsdecode(name.replace(b"/", b"_").replace(b"\0", b"_")[:255])
        if voice.parent == folder and voice.name != "..":
            voice.mkdir(exist_ok=True)
            (voice / CARD_FILE).write_bytes(card)


def parse_folder(data: bytes, folder: Path) -> bool:
    registry = Registry.load(folder)
    for card in registry:
        require(registry.get(card.name) is card and not card.complete, "a voice without a recording is complete")
        check_card(card, card.folder.name)
    return True


REGISTRY = Target(
    "registry", parse_folder, folders, a_folder, (RegistryError,), weight=3, lay=lay_folder, message_chars=64_000
)
