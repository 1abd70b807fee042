"""SECURITY.md names its tests: they exist, and none is left out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

PAGE = (REPOSITORY / "SECURITY.md").read_text("utf-8")
NAMED = set(re.findall(r"`(tests/[\w/]+\.py)`", PAGE))


def test_every_test_that_is_named_is_there_and_tests_something() -> None:
    assert len(NAMED) > 10
    for name in NAMED:
        assert re.search(r"^(async )?def test_", (REPOSITORY / name).read_text("utf-8"), re.MULTILINE), name


def test_every_test_of_this_folder_is_behind_a_promise() -> None:
    here = {f"tests/security/{file.name}" for file in Path(__file__).parent.glob("test_*.py")}
    of_pages = {"tests/security/test_promises.py", "tests/security/test_operators_lines.py"}
    assert here - of_pages == {name for name in NAMED if name.startswith("tests/security/")}


@pytest.mark.parametrize("page", ["SECURITY.md", "docs/operations.md", "README.md"])
def test_its_links_lead_somewhere_and_others_lead_to_it(page: str) -> None:
    path = REPOSITORY / page
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text("utf-8"))
    assert all((path.parent / target).exists() for target in targets if "://" not in target)
    assert page == "SECURITY.md" or any(target.endswith("SECURITY.md") for target in targets)


def test_each_promise_names_a_test() -> None:
    table = [line for line in PAGE.splitlines() if line.startswith("|")][2:]
    assert table
    for row in table:
        assert "`tests/" in row.split("|")[2], row
