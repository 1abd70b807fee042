"""What lies in the folder of the voices: cards in TOML, and their folders' names."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from random import Random

from tests.fuzz import mutate as plain
from tests.fuzz import odd
from tests.fuzz.mutate import rearranged, replaced
from tests.fuzz.target import Target, packed, require, unpacked
from worker.text import frame_budget, plan
from worker.voices.card import CARD_FILE, LANGUAGES, MAX_CARD_BYTES, Card, CardError, load_card
from worker.voices.registry import Registry, RegistryError

VOICES = Path(__file__).resolve().parents[3] / "voices"
MODULES = ("worker.voices.card", "worker.voices.registry")
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
    b"a.", b'"a".', b"'a' . ", b"[a]\n", b"[[a]]\n", b"[a.b]\n", b"#\n", b"\n", b" ", b"a=1\n", b"x=[", b"{a=", b"[1,",
    b'"', b"'", b"'''", b'"""', b"\\", b"a={b=1}\n", b'"\\u0041"', b"[a.a.a.a.a.a.a.a.a.a]\n", b"9", b"1_", b"a",
    b"\xe3\x81\x82",
)  # fmt: skip
Lines = list[bytes]


def cards() -> list[bytes]:
    shipped = [(VOICES / name / CARD_FILE).read_text("utf-8") for name in ("makima", "placeholder")]
    renamed = [card.replace('name = "', 'name = "alice"\n#', 1) for card in shipped]
    return [text.encode() for text in (EVERY_FIELD, *renamed)]


def a_card(draw: Random, data: bytes, other: bytes) -> bytes:
    if draw.random() < 0.3:
        return plain.mutate(draw, data, other)
    lines = plain.several(draw, data.split(b"\n"), (_value, _value, _key, _line, _lines, _table, _blown_up))
    return b"\n".join(lines)[: MAX_CARD_BYTES + 1]


def _value(draw: Random, lines: Lines) -> Lines:
    at = draw.randrange(len(lines))
    key, equals, _ = lines[at].partition(b"=")
    value = draw.choice(VALUES) if draw.random() < 0.7 else f'"{odd.string(draw)}"'
    return replaced(lines, at, key + (equals or b"=") + value.encode())


def _key(draw: Random, lines: Lines) -> Lines:
    at = draw.randrange(len(lines))
    _, equals, value = lines[at].partition(b"=")
    return replaced(lines, at, draw.choice(KEYS).encode() + equals + value)


def _line(draw: Random, lines: Lines) -> Lines:
    return rearranged(draw, lines) or [b""]


def _lines(draw: Random, lines: Lines) -> Lines:
    """Many fields nobody knows, or many words in the lexicon."""
    stem = odd.string(draw).encode() if draw.random() < 0.1 else b"k"
    at = draw.randrange(len(lines) + 1)
    return [*lines[:at], *(b"%s%d = 'x'" % (stem, n) for n in range(draw.choice((3, 30, 300, 6000)))), *lines[at:]]


def _table(draw: Random, lines: Lines) -> Lines:
    names = b"lexicon", b"preview", b"sampling", b"a.b", b"preview.espeak_voices"
    return [*lines, b"[%s]" % draw.choice(names), *lines[:2]]


def _blown_up(draw: Random, lines: Lines) -> Lines:
    at, unit = draw.randrange(len(lines) + 1), draw.choice(UNITS)
    long = unit * (draw.choice((40, 400, 4000, MAX_CARD_BYTES)) // len(unit))
    return [*lines[:at], long + draw.choice((b"", b"a=1", b"1", b"]")), *lines[at:]]


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


CARD = Target(
    place="tests.fuzz.targets.cards:CARD",
    seeds=cards,
    mutate=a_card,
    lay=lay_card,
    parse=parse_card,
    declared=(CardError,),
    weight=8,
    modules=MODULES,
    message_chars=8000,
)


def folders() -> list[bytes]:
    ours, makima, _ = cards()
    return [packed([[NAME.encode(), ours]]), packed([[b"makima", makima], [b".git", b""], [NAME.encode(), ours]])]


FOLDER_NAMES = (
    b"", b"a b", b"\xff", "声".encode(), b"a\n", b"-a", b"a" * 64, b"a" * 65, b"a" * 255, b"__pycache__", b".", b"..",
    b"[red]",
)  # fmt: skip


def a_folder(draw: Random, data: bytes, other: bytes) -> bytes:
    voices = unpacked(data) or [[b"x", b""]]
    at = draw.randrange(len(voices))
    name, card = voices[at]
    names = (*FOLDER_NAMES, plain.mutate(draw, name, name))
    changed = draw.choice(([name, a_card(draw, card, card)], [draw.choice(names), card]))
    return packed([*replaced(voices, at, changed), *(unpacked(other) if draw.random() < 0.2 else [])][:8])


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
    place="tests.fuzz.targets.cards:REGISTRY",
    seeds=folders,
    mutate=a_folder,
    lay=lay_folder,
    parse=parse_folder,
    declared=(RegistryError,),
    weight=3,
    modules=MODULES,
    message_chars=64_000,
)
