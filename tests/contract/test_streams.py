"""Golden streams: the entries of a session, and what Python's relay makes of them."""

from __future__ import annotations

import base64
import copy
import json
from pathlib import Path
from typing import Any

import pytest

import schemas
from schemas import Heard
from schemas.golden_streams import UNREADABLE as GOLDEN_UNREADABLE
from schemas.messages import MESSAGE_OF, TERMINAL_TYPES
from worker.stream.hearing import UNREADABLE, Hearing, ReadEntry, as_messages

FOLDER = Path(schemas.__file__).parent / "vectors" / "streams"
STREAMS = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


def plain(value: Any) -> bytes:
    return base64.b64decode(value["base64"]) if isinstance(value, dict) else str(value).encode()


def fields_of(step: dict[str, Any]) -> dict[bytes, bytes]:
    return {name.encode(): plain(value) for name, value in step["entry"]["fields"]}


@pytest.mark.parametrize("name", STREAMS)
def test_a_golden_stream_gives_what_is_written_there(name: str) -> None:
    hearing = Hearing()
    for number, step in enumerate(copy.deepcopy(STREAMS[name]["steps"])):
        if "publish" in step:
            hearing.published(step["publish"])
        elif "heard" in step:
            played = step["heard"].pop("played")
            assert hearing.jobs[step["job_id"]].heard(played) == Heard(**step["heard"]), number
        else:
            sent = hearing.stop() if "stop" in step else hearing.take(ReadEntry.of(fields_of(step)))
            assert as_messages(sent) == step["sends"], number
    assert hearing.unfinished == []


def test_every_kind_of_entry_is_in_a_golden_stream() -> None:
    kinds = {fields_of(step).get(b"type") for case in STREAMS.values() for step in case["steps"] if "entry" in step}
    assert {*(kind.encode() for kind in MESSAGE_OF), b"cancel", b"mood", None} == kinds
    assert GOLDEN_UNREADABLE["message"] == UNREADABLE


@pytest.mark.parametrize("name", STREAMS)
def test_each_published_job_of_a_golden_stream_has_one_answer_and_at_most_one_final_chunk(name: str) -> None:
    steps = STREAMS[name]["steps"]
    published = {step["publish"] for step in steps if "publish" in step}
    sent = [message for step in steps for message in step.get("sends", ())]
    assert sum(message["type"] in TERMINAL_TYPES for message in sent) == len(published)
    is_open = False
    for message in sent:
        if message["type"] == "audio_chunk":
            is_open = not message["is_final"]
        else:
            assert not is_open, "an utterance of which a chunk was sent has a final chunk before its end"
