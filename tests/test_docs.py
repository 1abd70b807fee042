"""The pages are true: what they cite is there, every term has one definition, every page can be reached."""

from __future__ import annotations

import re
import subprocess
import zlib
from functools import cache

import pytest

from tests.conftest import REPOSITORY
from worker.stream.keys import JOB_PLANE

GLOSSARY_WORDS = (
    "session", "job", "utterance", "segment", "frame", "chunk", "voice", "prompt", "slot", "lease", "fence", "epoch",
    "gate", "job plane", "session plane", "progress", "doorbell", "dead letter", "aside",
)  # fmt: skip
DIAGRAMS = {"flowchart", "stateDiagram-v2", "sequenceDiagram"}
PICTURE_BYTES = 200_000
OF_THIS_REPOSITORY = ("worker", "schemas", "tests", "benchmarks", "docs", "deploy", "voices", "examples", "tools")


@cache
def tracked() -> tuple[str, ...]:
    """Every file of the checkout that git does not ignore."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if listing.returncode:
        pytest.skip("not a git checkout")
    return tuple(name for name in sorted(set(listing.stdout.splitlines())) if (REPOSITORY / name).is_file())


def pages() -> list[str]:
    return [name for name in tracked() if name.endswith(".md")]


def text_of(name: str) -> str:
    return (REPOSITORY / name).read_text("utf-8")


def prose_of(name: str) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text_of(name), flags=re.DOTALL | re.MULTILINE)


def anchors(name: str) -> set[str]:
    """The anchors of a page's headings, as forges make them: lower case, blanks as hyphens, no other marks."""
    headings = re.findall(r"^#+ (.*)$", prose_of(name), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(name: str) -> list[tuple[str, str]]:
    """(path from the root, anchor) of every relative link of a page."""
    found = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose_of(name)):
        if "://" not in target and not target.startswith("mailto:"):
            path, _, anchor = target.partition("#")
            whole = (REPOSITORY / name).parent / path if path else REPOSITORY / name
            found.append((str(whole.resolve().relative_to(REPOSITORY)), anchor))
    return found


def test_every_link_leads_to_a_file_and_a_heading() -> None:
    broken = []
    for page in pages():
        for path, anchor in links(page):
            if not (REPOSITORY / path).exists() or (anchor and anchor not in anchors(path)):
                broken.append(f"{page}: {path}#{anchor}")
    assert broken == []


def cited(text: str) -> set[str]:
    """Paths with a file ending below a folder of this repository, and pages named alone."""
    below = "|".join(OF_THIS_REPOSITORY)
    return set(re.findall(rf"(?<![\w./-])((?:{below})/[\w./-]*\.(?:py|lua|md|sh|acl|png|yaml|toml))\b", text)) | set(
        re.findall(r"(?<![\w./-])([A-Z]{3,}\.md)\b", text)
    )


@pytest.mark.parametrize("suffix", [".md", ".py", ".lua"])
def test_every_file_that_is_cited_exists(suffix: str) -> None:
    """In pages, docstrings and comments alike; a path is from the root, or from the folder of the citing file."""
    missing = []
    for name in tracked():
        if name.endswith(suffix) and name != "tests/test_docs.py":
            folders = (REPOSITORY, (REPOSITORY / name).parent)
            cites = cited(text_of(name))
            missing += [f"{name}: {path}" for path in cites if not any((at / path).exists() for at in folders)]
    assert missing == []


def test_every_page_can_be_reached_from_the_readme_within_two_links() -> None:
    first = {path for path, _ in links("README.md")}
    second = {path for page in first if page.endswith(".md") for path, _ in links(page)}
    assert set(pages()) - {"README.md"} - first - second == set()


# The glossary.


def glossary() -> list[str]:
    section = text_of("docs/architecture.md").partition("## Glossary\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| \*\*(.+?)\*\* \| .+ \|$", section, re.MULTILINE)


def test_the_glossary_defines_each_word_once() -> None:
    defined = glossary()
    assert sorted(defined) == sorted(set(defined))
    assert set(GLOSSARY_WORDS) <= set(defined)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/reliability.md", "docs/operations.md"])
def test_no_other_page_defines_a_word_of_the_glossary(page: str) -> None:
    """A definition looks like `*word* (…)`, `**word**: …` or a table's bold first cell."""
    words = "|".join(map(re.escape, glossary()))
    defining = rf"(?im)\*({words})\*\s*\(|\*\*({words})\*\*\s*(:|\||is\b|means\b)"
    assert re.findall(defining, prose_of(page)) == []


def test_where_is_names_a_symbol_that_is_in_the_file() -> None:
    section = text_of("docs/architecture.md").partition("## Where is …?\n")[2]
    rows = re.findall(r"^\| .+\? \| (`.+`) \| (.+) \|$", section, re.MULTILINE)
    assert len(rows) >= 10
    for paths, symbols in rows:
        sources = "".join(text_of(path) for path in re.findall(r"`([^`]+)`", paths))
        first = re.findall(r"`([\w.]+)`", symbols)[0].rpartition(".")[2]
        assert re.search(rf"\b{first}\b", sources), f"{paths}: {first}"


def test_a_jobs_life_has_twelve_steps_with_files() -> None:
    section = text_of("docs/architecture.md").partition("## A job's life in twelve steps\n")[2].partition("\n## ")[0]
    steps = re.findall(r"^(\d+)\. ((?:.|\n(?!\d+\. |\n))+)", section, re.MULTILINE)
    assert [number for number, _ in steps] == [str(number) for number in range(1, 13)]
    assert all(cited(step) for _, step in steps)


def test_a_decision_fits_a_page_and_has_its_four_parts() -> None:
    decisions = [page for page in pages() if re.fullmatch(r"docs/adr/\d{4}-.*\.md", page)]
    assert {path for path, _ in links("docs/adr/README.md")} >= set(decisions)
    for page in decisions:
        assert len(text_of(page).splitlines()) <= 40, page
        assert {"context", "decision", "consequences", "alternatives"} <= anchors(page), page


def test_the_protocol_names_every_key_every_script_and_every_answer() -> None:
    page = text_of("docs/protocol.md")
    assert [key for key in JOB_PLANE if f"| `{key}` |" not in page] == []
    folder = REPOSITORY / "worker" / "stream" / "scripts"
    for source in sorted(folder.glob("[!_]*.lua")):
        name, text = source.stem, source.read_text("utf-8")
        assert f"| {name.upper()} |" in page or f"`{name}.lua`" in page, name
        if f"| {name.upper()} |" in page:
            returned = re.findall(r"\breturn \{(.*)\}", text)
            answers = {word for line in returned for word in re.findall(r"'([A-Z]{2,})'", line)}
            (row,) = re.findall(rf"^\| {name.upper()} \| .*$", page, re.MULTILINE)
            assert [answer for answer in answers if answer not in row] == [], name


# Pictures.


def test_diagrams_have_a_known_kind_and_balanced_brackets() -> None:
    blocks = [block for page in pages() for block in re.findall(r"^```mermaid\n(.*?)^```$", text_of(page), re.M | re.S)]
    assert len(blocks) >= 3
    for block in blocks:
        assert block.split()[0] in DIAGRAMS
        bare = re.sub(r'"[^"\n]*"', "", block)
        assert block.count('"') % 2 == 0
        assert [bare.count(left) - bare.count(right) for left, right in ("[]", "()", "{}")] == [0, 0, 0]
        assert len(re.findall(r"^\s*subgraph\b", block, re.M)) == len(re.findall(r"^\s*end$", block, re.M))


def test_the_picture_is_a_small_png_and_its_command_is_named() -> None:
    data = (REPOSITORY / "docs" / "demo.png").read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(data) < PICTURE_BYTES
    assert "python -m benchmarks.waveform docs/demo.png" in text_of("README.md")


def test_a_picture_shows_the_mark_where_the_first_sound_was_received() -> None:
    import numpy as np

    from benchmarks.waveform import HEIGHT, MARGIN, MARK, WIDTH, draw, png

    tone = np.concatenate((np.zeros(2400), np.sin(np.arange(24_000) / 9))).astype(np.float32)
    canvas = draw(tone, 24_000, first_s=0.3)
    marked = np.flatnonzero((canvas == MARK).sum(axis=0) > HEIGHT // 2)
    assert marked[0] == pytest.approx(MARGIN + 0.3 / 1.3 * (WIDTH - 2 * MARGIN), abs=2)
    packed = png(canvas)
    pixels = zlib.decompress(packed[packed.index(b"IDAT") + 4 : packed.index(b"IEND") - 8])
    assert len(pixels) == HEIGHT * (WIDTH + 1)
