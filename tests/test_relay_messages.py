"""What a client of the relay sends: which messages are read, and which are refused."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.relay.messages import (
    MAX_MESSAGE_BYTES,
    EndMessage,
    FlushMessage,
    MessageRefused,
    SpeakMessage,
    StartMessage,
    StopMessage,
    TextMessage,
    read_message,
)

READ: dict[str, object] = {
    '{"type": "start"}': StartMessage(24_000, "pcm_s16le", False, False),
    '{"type": "start", "sample_rate": null, "encoding": null, "binary": null, "segments": null}': StartMessage(),
    '{"type": "start", "sample_rate": 8000, "encoding": "mulaw", "binary": true, "segments": true}': StartMessage(
        8000, "mulaw", True, True
    ),
    '{"type": "start", "sample_rate": 5, "encoding": "mp3"}': StartMessage(5, "mp3"),  # the format is checked later
    '{"type": "speak", "text": "Hello.", "voice": 3}': SpeakMessage("Hello."),
    '{"type": "speak", "text": ""}': SpeakMessage(""),
    '{"type": "text", "text": "\\ud83d\\ude00"}': TextMessage("\U0001f600"),
    '{"type": "flush"}': FlushMessage(),
    '{"type": "end"}': EndMessage(),
    '{"type": "stop"}': StopMessage(None),
    '{"type": "stop", "played_ms": null}': StopMessage(None),
    '{"type": "stop", "played_ms": 0}': StopMessage(0),
    '{"type": "stop", "played_ms": 1234.5}': StopMessage(1234.5),
}
REFUSED: list[str | bytes] = [
    "",
    "hello",
    "[]",
    '"speak"',
    "{}",
    '{"type": "speak"',
    '{"type": "sing"}',
    '{"type": ["speak"]}',
    '{"type": null}',
    '{"type": "speak"}',
    '{"type": "speak", "text": null}',
    '{"type": "speak", "text": 3}',
    '{"type": "text", "text": "\\ud83d"}',
    '{"type": "start", "sample_rate": 24000.0}',
    '{"type": "start", "sample_rate": "24000"}',
    '{"type": "start", "sample_rate": true}',
    '{"type": "start", "encoding": 1}',
    '{"type": "start", "binary": 1}',
    '{"type": "stop", "played_ms": -1}',
    '{"type": "stop", "played_ms": "5"}',
    '{"type": "stop", "played_ms": true}',
    '{"type": "stop", "played_ms": NaN}',
    '{"type": "stop", "played_ms": 1e999}',
    '{"type": "end", "x": Infinity}',
    b'{"type": "end"}',
    "[" * 50_000,
    '{"type": "stop", "played_ms": ' + "9" * 5000 + "}",
]


@pytest.mark.parametrize("frame", READ)
def test_a_message_is_read(frame: str) -> None:
    assert read_message(frame) == READ[frame]


@pytest.mark.parametrize("frame", REFUSED, ids=lambda frame: str(frame)[:60])
def test_any_other_message_is_refused(frame: str | bytes) -> None:
    with pytest.raises(MessageRefused) as refused:
        read_message(frame)
    assert refused.value.refusal == "bad_message"
    assert refused.value.remedy


@pytest.mark.parametrize("letter", ["a", "é", "話"])
def test_a_message_is_limited_in_bytes(letter: str) -> None:
    frame = json.dumps({"type": "speak", "text": ""}, separators=(",", ":"))
    n_free = MAX_MESSAGE_BYTES - len(frame)
    size = len(letter.encode())
    fits = frame.replace('""', f'"{letter * (n_free // size)}{"." * (n_free % size)}"')
    assert len(fits.encode()) == MAX_MESSAGE_BYTES
    read_message(fits)
    with pytest.raises(MessageRefused):
        read_message(fits + " ")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from(["type", "text", "sample_rate", "encoding", "binary", "segments", "played_ms"])
TYPES = st.sampled_from(["start", "speak", "text", "flush", "end", "stop"])


@given(st.dictionaries(NAMES, JSON | TYPES), st.text(max_size=8))
def test_no_message_raises_anything_else(members: dict[str, Any], noise: str) -> None:
    for frame in (json.dumps(members), json.dumps(members) + noise, noise):
        with suppress(MessageRefused):
            read_message(frame)
