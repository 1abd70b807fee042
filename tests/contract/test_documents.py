"""The pages for people say what the code does, and the package exports what it names."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import schemas
from schemas import LANGUAGES, SAMPLE_RATES, Encoding, ErrorCode, error_page
from schemas.jobs import JOB_FIELDS, MAX_SEED, MAX_TTL_MS
from schemas.messages import KNOWN_WORDS, MAX_DATA_BYTES, MESSAGE_OF

FOLDER = Path(schemas.__file__).parent
PAGE = (FOLDER / "vectors" / "README.md").read_text()
SOCKET = (FOLDER / "vectors" / "socket.md").read_text()
RUST = (FOLDER / "rust" / "src" / "wire.rs").read_text()
STRUCTS = {
    "begin": "Begin",
    "segment": "Segment",
    "audio": "Audio",
    "complete": "Complete",
    "cancelled": "Cancelled",
    "error": "SpeakError",
}
RUST_TYPE_OF = {"rtf": "f64", "data": "Bytes", "is_final": "bool", "retryable": "bool"}


def test_what_is_public_is_in_all() -> None:
    tree = ast.parse((FOLDER / "__init__.py").read_text())
    imported = [alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted(imported) == sorted(schemas.__all__)
    assert all(hasattr(schemas, name) for name in schemas.__all__)


def test_the_contract_needs_neither_redis_nor_a_model_nor_the_worker() -> None:
    program = "import sys, schemas, schemas.export; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert "schemas" in loaded
    assert not {"redis", "torch", "numpy", "worker"} & set(loaded)


@pytest.mark.parametrize("kind", MESSAGE_OF)
def test_the_rust_types_have_the_contracts_fields_in_their_order(kind: str) -> None:
    body = re.search(rf"^    {STRUCTS[kind]} {{\n(.*?)\n    }}", RUST, re.DOTALL | re.MULTILINE)
    assert body is not None
    fields = re.findall(r"^ {8}(\w+): ([\w<>]+),", body[1], re.MULTILINE)
    assert [name for name, _ in fields] == list(MESSAGE_OF[kind].model_fields)[4:]
    for name, rust_type in fields:
        nullable = MESSAGE_OF[kind].model_fields[name].default is None
        assert rust_type.startswith("Option<") is nullable, name
        if name in RUST_TYPE_OF:
            assert rust_type == RUST_TYPE_OF[name]


@pytest.mark.parametrize("kind", MESSAGE_OF)
def test_the_table_of_messages_names_every_key(kind: str) -> None:
    row = re.search(rf"^\| {kind} \| (.*) \|$", PAGE, re.MULTILINE)
    assert row is not None
    outside = re.sub(r"\([^)]*\)", "", row[1])
    named = re.findall(r"\b[a-z_]+\b", outside)
    assert named == list(MESSAGE_OF[kind].model_fields)[4:]


def test_the_table_of_jobs_names_every_field_and_limit() -> None:
    rows = dict(re.findall(r"^\| (\w+) \| (.*) \|$", PAGE.partition("### Language")[0], re.MULTILINE))
    assert set(rows) - {"field"} == set(JOB_FIELDS)
    assert all(language in rows["language"] for language in LANGUAGES)
    assert all(str(rate) in rows["sample_rate"] for rate in SAMPLE_RATES)
    assert all(encoding in rows["encoding"] for encoding in Encoding)
    assert str(MAX_TTL_MS) in rows["ttl_ms"]
    assert MAX_SEED == 2**63 - 1
    assert "2^63-1" in rows["seed"]
    assert f"{MAX_DATA_BYTES:,}" in PAGE


def test_every_error_code_and_finish_is_named_for_readers() -> None:
    assert all(code in PAGE for code in ErrorCode)
    assert all(f"`{word}`" in PAGE for word in (*KNOWN_WORDS["finish"], *KNOWN_WORDS["resumed_by"]))


def test_the_tables_of_codes_are_those_of_the_errors() -> None:
    assert set(error_page.RELAY_DOES) == set(ErrorCode)
    assert error_page.relay_table() in PAGE
    assert error_page.relay_codes() in SOCKET


def test_the_websocket_table_answers_every_entry() -> None:
    table = SOCKET.partition("| stream entry | the relay sends |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == {*MESSAGE_OF, "cancel"}
