"""Golden sockets: each conversation is possible by the contract and by the speak socket's protocol."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import schemas
from schemas.messages import MESSAGE_OF, TERMINAL_TYPES
from tests.contract.test_export import plain

FOLDER = Path(schemas.__file__).parent / "vectors"
SOCKETS = {path.stem: json.loads(path.read_text())["steps"] for path in sorted((FOLDER / "sockets").glob("*.json"))}
PROTOCOL = (FOLDER / "socket.md").read_text()
OWN = {"v": 1, "job_id": "u1", "session_id": "s1"}
STEPS = {"client", "client_text", "client_binary", "job", "text_of", "worker", "program", "cut", "expect", "closed"}


def received(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [message for step in steps for message in step.get("expect", ())]


@pytest.mark.parametrize("name", SOCKETS)
def test_a_worker_writes_messages_of_the_contract_for_jobs_that_were_published(name: str) -> None:
    jobs = {0}
    for step in SOCKETS[name]:
        assert STEPS & step.keys(), step
        jobs.add(step.get("job", 0))
        assert step.get("worker", 0) in jobs
        for kind, members, *_ in step.get("writes", ()):
            if members is not None:
                MESSAGE_OF[kind].model_validate({"type": kind, **OWN, **plain(members)})


@pytest.mark.parametrize("name", SOCKETS)
def test_each_job_that_ends_is_answered_once_and_closed_before(name: str) -> None:
    steps = SOCKETS[name]
    ended = [
        step["worker"]
        for step in steps
        for kind, members, *_ in step.get("writes", ())
        if step["worker"] and (kind in TERMINAL_TYPES or (members is None and kind in MESSAGE_OF))
    ]
    own_codes = set(re.findall(r"^\| `(\w+)` \|", PROTOCOL.partition("## Errors")[2], re.MULTILINE)) - {"no_answer"}
    is_answer = [
        message.get("type") in TERMINAL_TYPES and message.get("code") not in own_codes for message in received(steps)
    ]
    assert sum(is_answer) == len(set(ended))
    is_open = False
    for message, is_end in zip(received(steps), is_answer, strict=True):
        if message.get("type") == "audio_chunk" or "binary" in message:
            is_open = not message.get("is_final", False)
        elif is_end:
            assert not is_open


def test_every_message_and_code_of_the_protocol_is_in_a_golden_socket() -> None:
    sent = {step["client"]["type"] for steps in SOCKETS.values() for step in steps if "client" in step}
    messages = [message for steps in SOCKETS.values() for message in received(steps) if "type" in message]
    codes = {message["code"] for message in messages if message["type"] == "error"}
    clients, relays, errors = (PROTOCOL.partition(f"\n## {title}")[2].partition("\n## ")[0] for title in (
        "What a client sends", "What a relay sends", "Errors"
    ))  # fmt: skip
    names = re.compile(r"^\| `(\w+)` \|", re.MULTILINE)
    assert set(names.findall(clients)) == sent
    assert set(names.findall(relays)) == {message["type"] for message in messages}
    assert set(names.findall(errors)) - codes == {"no_answer"}  # 15 s at least
