"""The generated files follow from the models, and are true."""

from __future__ import annotations

import base64
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

import schemas
from schemas import (
    RETRYABLE,
    ErrorCode,
    JobError,
    MakimaError,
    WireError,
    error_page,
    pack,
    parse_job,
    unpack,
    unpack_codes,
)  # fmt: skip
from schemas.asyncapi import document, relay_document
from schemas.documents import job_schema
from schemas.export import export, stale
from schemas.golden import JOBS, MESSAGES
from schemas.jobs import JOB_FIELDS
from schemas.messages import KNOWN_WORDS, MESSAGE_OF

FOLDER = Path(schemas.__file__).parent
INDEX: dict[str, list[dict[str, Any]]] = json.loads((FOLDER / "vectors" / "index.json").read_text())


def plain(value: Any) -> Any:
    """The value of an index entry, with its bytes as bytes."""
    if isinstance(value, dict) and value.keys() == {"base64"}:
        return base64.b64decode(value["base64"])
    return {key: plain(item) for key, item in value.items()} if isinstance(value, dict) else value


def validator(stem: str) -> Draft202012Validator:
    schema = json.loads((FOLDER / "json" / f"{stem}.json").read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def test_the_committed_files_are_fresh() -> None:
    found = stale(FOLDER, FOLDER.parent / "docs")
    assert found == [], "run makima-tts schema export --docs docs, and delete what is no longer generated"


def test_the_error_page_has_a_row_for_each_code() -> None:
    rows = re.findall(r"^\| `(\w+)` \| .+ \| (yes|no) \| .+ \|$", error_page.page(), re.MULTILINE)
    assert rows == [(code.value, "yes" if code in RETRYABLE else "no") for code in ErrorCode]


def test_an_export_without_yaml_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(MakimaError) as caught:
        export(tmp_path)
    assert "[dev]" in caught.value.remedy
    assert list(tmp_path.iterdir()) == []


def test_an_export_is_complete_and_repeatable_and_deletes_nothing(tmp_path: Path) -> None:
    written = export(tmp_path)
    assert stale(tmp_path) == []
    first = {path: path.read_bytes() for path in written}
    stranger = tmp_path / "json" / "mood.json"
    stranger.write_text("{}")
    (tmp_path / "vectors" / "README.md").write_text("by hand")
    written[0].write_text("changed")
    written[1].unlink()
    assert sorted(stale(tmp_path)) == sorted([written[0], written[1], stranger])
    assert {path: path.read_bytes() for path in export(tmp_path)} == first
    assert stale(tmp_path) == [stranger]
    assert (tmp_path / "vectors" / "README.md").exists()


@pytest.mark.parametrize("golden", INDEX["messages"], ids=lambda golden: golden["file"])
def test_a_golden_message_is_read_and_written_as_the_same_bytes(golden: dict[str, Any]) -> None:
    data = (FOLDER / "vectors" / golden["file"]).read_bytes()
    message = unpack(data)
    assert message.model_dump() == plain(golden["value"])
    assert pack(message) == data


@pytest.mark.parametrize("golden", INDEX["variants"], ids=lambda golden: golden["file"])
def test_a_variant_is_read_or_refused_as_the_index_says(golden: dict[str, Any]) -> None:
    data = (FOLDER / "vectors" / golden["file"]).read_bytes()
    if golden["reads_as"] is None:
        with pytest.raises(WireError):
            unpack(data)
    else:
        assert unpack(data) == MESSAGES[golden["reads_as"]][1]


@pytest.mark.parametrize("golden", INDEX["codes"], ids=lambda golden: golden["file"])
def test_golden_codes_are_read(golden: dict[str, Any]) -> None:
    data = (FOLDER / "vectors" / golden["file"]).read_bytes()
    assert unpack_codes(data) == (golden["segment"], golden["first_frame"], plain(golden["codes"]))


@pytest.mark.parametrize("golden", INDEX["jobs"], ids=lambda golden: golden["note"])
def test_golden_jobs_are_read_or_refused_as_the_index_says(golden: dict[str, Any]) -> None:
    fields = [item for name, value in golden["fields"] for item in (name.encode(), plain(value))]
    if "error" in golden:
        with pytest.raises(JobError) as caught:
            parse_job("1760000000000-0", fields)
        assert {"code": caught.value.code, "field": caught.value.field} == golden["error"]
    else:
        job = parse_job("1760000000000-0", fields)
        assert {name: getattr(job, name) for name in job.__slots__} == golden["job"]


def test_the_golden_messages_are_valid_by_their_schemas_and_fill_them() -> None:
    for golden in INDEX["messages"]:
        kind = golden["value"]["type"]
        readable = golden["value"] | ({"data": golden["value"]["data"]["base64"]} if kind == "audio" else {})
        validator(kind).validate(readable)
        schema = validator(kind).schema
        assert schema["required"] == [name for name in readable if name in schema["required"]]
        assert list(readable) == [name for name in schema["properties"] if name in readable]
    assert {golden["value"]["type"] for golden in INDEX["messages"]} == set(MESSAGE_OF)


def test_the_schema_of_a_job_agrees_with_the_reader() -> None:
    check = validator("job")
    assert set(check.schema["properties"]) == set(JOB_FIELDS)
    beyond_a_schema = {"a seed of 2^63", "unknown fields are ignored", "a field given twice"}
    for note, fields in JOBS.items():
        if note in beyond_a_schema or note == "everything":  # any case of a language is for workers alone
            continue
        try:
            parse_job("1-0", [item for name, value in fields for item in (name.encode(), value)])
            good = True
        except JobError:
            good = False
        if note != "text that is not UTF-8":
            assert check.is_valid({name: value.decode() for name, value in fields}) is good, note
    assert check.schema == job_schema()


def test_known_words_are_in_the_schemas() -> None:
    for kind, word in (("begin", "encoding"), ("complete", "finish"), ("error", "code")):
        assert validator(kind).schema["properties"][word]["examples"] == [str(known) for known in KNOWN_WORDS[word]]


@pytest.mark.parametrize(("name", "written"), [("asyncapi", document), ("asyncapi-relay", relay_document)])
def test_an_asyncapi_document_is_yaml_and_its_references_resolve(name: str, written: Callable[[str], Any]) -> None:
    read = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    assert read == written("1.0.0")
    assert read["asyncapi"] == "3.0.0"
    references = list(_references(read))
    assert len(references) > 20
    for reference in references:
        if reference.startswith("#/"):
            target = read
            for part in reference[2:].split("/"):
                target = target[part]
        else:
            assert (FOLDER / reference).is_file()


def test_every_message_is_sent_and_every_parameter_described() -> None:
    read = document("1.0.0")
    sent = {reference["$ref"].rpartition("/")[2] for reference in read["operations"]["tellSession"]["messages"]}
    assert sent == set(MESSAGE_OF)
    for channel in read["channels"].values():
        assert set(re.findall(r"{(\w+)}", channel["address"])) == set(channel["parameters"])


def test_a_relay_sends_what_a_worker_receives_and_receives_what_it_sends() -> None:
    def moved(document: Any, action: str) -> set[str]:
        """The messages of all operations with this action."""
        operations = [it for it in document["operations"].values() if it["action"] == action]
        return {reference["$ref"] for it in operations for reference in it["messages"]}

    worker, relay = document("1.0.0"), relay_document("1.0.0")
    for name, channel in worker["channels"].items():
        assert channel.items() <= relay["channels"][name].items()
    assert worker["components"]["messages"].items() <= relay["components"]["messages"].items()
    cancels = {"#/channels/audio/messages/cancel"}  # a relay reads those of other programs
    assert on_redis(moved(relay, "send")) == moved(worker, "receive")
    assert on_redis(moved(relay, "receive")) == moved(worker, "send") | cancels


def on_redis(messages: set[str]) -> set[str]:
    return {name for name in messages if not name.startswith("#/channels/speak/")}


@pytest.mark.parametrize("table", ["What a client sends", "What a relay sends"])
def test_the_socket_has_the_messages_and_members_of_its_page(table: str) -> None:
    page = (FOLDER / "vectors" / "socket.md").read_text().partition(f"## {table}\n")[2].partition("\n* ")[0]
    rows = {
        name: set(re.findall(r"`(\w+)`", cell)) for name, cell in re.findall(r"^\| `(\w+)` \| (.*?) \|", page, re.M)
    }
    action = "receiveFromClient" if "client" in table else "sendToClient"
    read = relay_document("1.0.0")
    names = [reference["$ref"].rpartition("/")[2] for reference in read["operations"][action]["messages"]]
    payloads = {name: read["components"]["messages"][f"socket_{name}"].get("payload") for name in names}
    assert payloads.pop("samples", None) is None
    assert {name: payload["properties"].keys() - {"type"} for name, payload in payloads.items()} == rows
    for name, payload in payloads.items():
        optional = {
            member for member in rows[name] if f"`{member}`?" in page.partition(f"| `{name}` |")[2].split(" | ")[0]
        }
        assert set(payload["required"]) == rows[name] - optional | {"type"}


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [found for item in value.values() for found in _references(item)]
    return [found for item in value for found in _references(item)] if isinstance(value, list) else []
