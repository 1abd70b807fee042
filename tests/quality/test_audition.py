"""`voices audition`: sound, pictures and one page that needs nothing else."""

from __future__ import annotations

import io
import re
import struct
import zlib
from base64 import b64decode
from html import unescape
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import REPOSITORY
from tests.previewing import card
from tests.quality.fakes import RATE_HZ, Pcm, vowels, with_pause
from tests.shell import Run
from worker.commands.audition.cast import AuditionRequest, lines_of
from worker.quality.picture import BORDER, HEIGHT, N_SHADES, ONSET, WAVE, WIDTH, picture
from worker.quality.png import GLYPHS, label_width, write_label


def pixels(png: bytes) -> Pcm:
    """Palette indices [height, width] of an indexed PNG without filters."""
    width, height = struct.unpack(">II", png[16:24])
    data, at = b"", 8
    while at < len(png):
        (size,) = struct.unpack(">I", png[at : at + 4])
        kind, part = png[at + 4 : at + 8], png[at + 8 : at + 8 + size]
        assert zlib.crc32(kind + part) == struct.unpack(">I", png[at + 8 + size : at + 12 + size])[0]
        data += part if kind == b"IDAT" else b""
        at += 12 + size
    rows = np.frombuffer(zlib.decompress(data), np.uint8).reshape(height, width + 1)
    assert not rows[:, 0].any()
    return rows[:, 1:].astype(np.float32)


def columns(picture: Pcm, color: int) -> list[int]:
    return sorted({int(x) for x in np.flatnonzero((picture == color).sum(axis=0) > 100)})


def test_the_picture_shows_sound_borders_and_the_first_audible_sample() -> None:
    pcm = with_pause(400, before_ms=300)
    shown = pixels(picture(pcm, RATE_HZ, seams=(pcm.size // 2,)))
    assert shown.shape == (HEIGHT, WIDTH)
    (onset, _), (border, _) = columns(shown, ONSET), columns(shown, BORDER)
    assert 0 < onset < border < WIDTH
    assert (shown == WAVE).any()
    assert not (shown[:, : onset - 4] == WAVE).sum(axis=0).max(initial=0) > 4


def test_a_tone_is_a_line_at_its_frequency() -> None:
    tone = np.sin(2 * np.pi * 3000 * np.arange(RATE_HZ) / RATE_HZ).astype(np.float32) * np.float32(0.5)
    shown = pixels(picture(tone, RATE_HZ))
    column = shown[:, WIDTH // 2]
    bright = np.flatnonzero((column < N_SHADES) & (column > 0.9 * N_SHADES))
    panel = np.flatnonzero(column[200:] < N_SHADES) + 200
    assert (panel[-1] - bright.mean()) / (panel[-1] - 165) == pytest.approx(3000 / 12_000, abs=0.03)


@settings(deadline=None, max_examples=30)
@given(n=st.integers(0, 3000), span_s=st.floats(0, 30), n_seams=st.integers(0, 3))
def test_any_length_can_be_drawn(n: int, span_s: float, n_seams: int) -> None:
    pcm = vowels(0.2)[:n]
    assert picture(pcm, RATE_HZ, range(0, n_seams * 7, 7), span_s).startswith(b"\x89PNG")


@pytest.mark.parametrize("x", [-10, 0, 95])
def test_a_label_is_cut_at_the_edge(x: int) -> None:
    canvas = np.zeros((20, 100), np.uint8)
    write_label(canvas, "".join(GLYPHS)[:4], x, 2, 9)
    assert set(np.unique(canvas)) <= {0, 9}
    assert label_width("10 s") > label_width("1 s")


def test_voices_stand_side_by_side_on_one_page_that_needs_nothing_else(run: Run, tmp_path: Path) -> None:
    text = "<b>Two cups</b> & a kettle."
    done = run(
        *("voices", "audition", "--voices-dir", str(REPOSITORY / "voices"), "--engine", "preview"),
        *("--voice", "placeholder", "--voice", "makima", "--language", "English", "--text", text, "--text", "Yes."),
    )
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "audition"
    page = (folder / "index.html").read_text("utf-8")
    assert not re.search(r"https?:|<script|<link|@import|url\(", page)
    assert set(re.findall(r'src="(data:[a-z]+/[a-z]+;)', page)) == {"data:image/png;", "data:audio/wav;"}
    assert "prefers-color-scheme: dark" in page
    assert text in unescape(page)
    assert "<b>" not in page
    assert page.count("<figure>") == len(list(folder.glob("*.wav"))) == len(list(folder.glob("*.png"))) == 4
    for sound in re.findall(r"data:audio/wav;base64,([^\"]+)", page):
        pcm, rate = soundfile.read(io.BytesIO(b64decode(sound)))
        assert rate == RATE_HZ
        assert np.abs(pcm).max() > 0.05


@pytest.mark.parametrize(
    ("words", "status", "named"),
    [
        (["--engine", "parrot"], 2, "preview"),
        (["--language", "Klingon"], 2, "Japanese"),
        (["--mode", "sung"], 2, "x_vector"),
        (["--voice", "nobody", "--engine", "preview"], 1, "placeholder"),
    ],
)
def test_an_audition_that_cannot_be_is_one_line_with_what_can(
    words: list[str], status: int, named: str, run: Run
) -> None:
    done = run("voices", "audition", "--voices-dir", str(REPOSITORY / "voices"), *words)
    assert (done.returncode, done.stdout) == (status, b"")
    assert named in done.stderr.decode().splitlines()[-1]


def test_a_line_that_cannot_be_spoken_is_reported_and_shown(run: Run, tmp_path: Path) -> None:
    done = run(
        *("voices", "audition", "--voices-dir", str(REPOSITORY / "voices"), "--engine", "preview"),
        *("--voice", "placeholder", "--language", "English", "--text", "x" * 6000, "--text", "Yes."),
    )
    assert done.returncode == 0
    assert b"makima-tts: " in done.stderr
    assert 'class="problem"' in (tmp_path / "audition" / "index.html").read_text("utf-8")


def test_a_given_text_is_spoken_in_its_own_language() -> None:
    cards = [card(("Japanese", "English"))]
    lines = lines_of(AuditionRequest(texts=("Good evening.", "こんばんは。", "Добрый вечер.")), cards)
    assert [line.language for line in lines] == ["English", "Japanese", "Russian"]
    lines = lines_of(AuditionRequest(texts=("Guten Abend.",), languages=("German", "English")), cards)
    assert [line.language for line in lines] == ["German", "English"]
