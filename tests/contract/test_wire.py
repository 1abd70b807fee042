"""Messages as bytes and as stream entries."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas import (
    Audio,
    Begin,
    Cancelled,
    Complete,
    Entry,
    Error,
    ErrorCode,
    Message,
    WireError,
    pack,
    pack_codes,
    read_entry,
    stream_fields,
    unpack,
    unpack_codes,
)
from schemas.golden import MESSAGES
from schemas.messages import KNOWN_WORDS, LEFT_OUT_WHEN_NIL, MAX_COUNT, MAX_DATA_BYTES, MESSAGE_OF
from schemas.wire import CODE_FRAME_BYTES, MAX_CODES_BYTES, MAX_MESSAGE_BYTES

IDS = st.from_regex(r"[A-Za-z0-9._:-]{1,128}", fullmatch=True)
COUNTS = st.integers(0, MAX_COUNT)
NAMES = st.text(min_size=1, max_size=30)


def known(word: str) -> st.SearchStrategy[str]:
    return st.sampled_from(KNOWN_WORDS[word]).map(str)


MESSAGE: st.SearchStrategy[Message] = st.one_of(
    st.builds(
        Begin, v=st.just(1), type=st.just("begin"), job_id=IDS, session_id=IDS, voice=NAMES, model=NAMES,
        sample_rate=st.integers(1, 48_000), encoding=known("encoding"), attempt=st.integers(1, 9), resumed_at=COUNTS,
        resumed_by=st.none() | known("resumed_by"), resumed_exactly=st.none() | st.booleans(),
        computed_on=st.none() | st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=256),
        language=st.none() | NAMES,
    ),
    st.builds(
        Audio, v=st.just(1), type=st.just("audio"), job_id=IDS, session_id=IDS, seq=COUNTS, pos=COUNTS,
        data=st.binary(max_size=300), is_final=st.booleans(),
    ),
    st.builds(
        Complete, v=st.just(1), type=st.just("complete"), job_id=IDS, session_id=IDS, finish=known("finish"),
        samples=COUNTS, chunks=COUNTS, audio_ms=COUNTS, queue_ms=COUNTS, first_audio_ms=COUNTS,
        leading_silence_ms=COUNTS, rtf=st.floats(0, 1e9), seed=st.integers(0, 2**63 - 1), voice=NAMES, model=NAMES,
        text_spoken=st.text(),
    ),
    st.builds(
        Cancelled, v=st.just(1), type=st.just("cancelled"), job_id=IDS, session_id=IDS, samples=COUNTS,
        text_spoken=st.none() | st.text(),
    ),
    st.builds(
        Error, v=st.just(1), type=st.just("error"), job_id=IDS, session_id=IDS, code=known("code"), message=NAMES,
        field=st.none() | NAMES, retryable=st.booleans(),
    ),
)  # fmt: skip

ORDER = {
    "begin": "voice model sample_rate encoding attempt resumed_at resumed_by computed_on resumed_exactly language",
    "audio": "seq pos data is_final",
    "complete": "finish samples chunks audio_ms queue_ms first_audio_ms leading_silence_ms rtf seed voice model"
    " text_spoken",
    "cancelled": "samples text_spoken",
    "error": "code message field retryable",
}


def audio(**changes: Any) -> Audio:
    fields: dict[str, Any] = {"job_id": "1-0", "session_id": "s1", "seq": 0, "pos": 0, "data": b"\0\0"}
    return Audio(**(fields | changes))


def as_read(fields: list[bytes | str | int]) -> dict[bytes, bytes]:
    """What Redis makes of the fields of an entry."""
    flat = [field if isinstance(field, bytes) else str(field).encode() for field in fields]
    return dict(zip(flat[::2], flat[1::2], strict=True))


@given(MESSAGE)
def test_what_is_packed_is_what_is_read(message: Message) -> None:
    data = pack(message)
    assert unpack(data) == message
    assert pack(unpack(data)) == data


@given(MESSAGE)
def test_every_map_has_the_contracts_keys_in_their_order(message: Message) -> None:
    fields = msgpack.unpackb(pack(message))
    ordered = ["v", "type", "job_id", "session_id", *ORDER[message.type].split()]
    left_out = {name for name in LEFT_OUT_WHEN_NIL if getattr(message, name, None) is None}
    assert list(fields) == [name for name in ordered if name not in left_out]
    assert all(type(value) in {int, str, bytes, bool, float, type(None)} for value in fields.values())


def test_a_whole_rtf_stays_a_float64() -> None:
    message = MESSAGES["complete"][1]
    assert b"\xa3rtf\xcb" in pack(message)


@given(MESSAGE, st.integers(0, 2**53 - 1))
def test_an_entry_is_read_as_it_was_written(message: Message, delivered: int) -> None:
    codes = pack_codes(0, 0, b"") if isinstance(message, Audio) else None
    fields = stream_fields(message, "17-3", delivered, codes)
    assert read_entry(as_read(fields)) == Entry(message.type, message.job_id, "17-3", delivered, message, codes)


def test_the_fields_of_an_entry_stand_in_order() -> None:
    error = Error(job_id="1-0", session_id="s1", code=ErrorCode.EXPIRED, message="too late", retryable=True)
    assert stream_fields(audio(), "1-0", 1, b"\0" * 6)[::2] == ["type", "job_id", "entry", "delivered", "data", "codes"]
    assert stream_fields(audio(), "1-0", 1)[::2] == ["type", "job_id", "entry", "delivered", "data"]
    fields = stream_fields(error, "1-0", 0)
    assert fields[::2] == ["type", "job_id", "entry", "delivered", "data", "code", "message"]
    assert fields[-3:] == ["expired", "message", "too late"]


def test_codes_belong_to_audio_alone() -> None:
    with pytest.raises(WireError, match="codes belong to audio"):
        stream_fields(Cancelled(job_id="1-0", session_id="s1"), "1-0", 0, b"\0" * 6)


def test_a_cancel_and_an_unknown_type_have_no_message() -> None:
    assert read_entry({b"type": b"cancel", b"upto": b"17-3"}) == Entry("cancel", upto="17-3")
    assert read_entry({b"type": b"cancel", b"upto": b"9-18446744073709551615"}).upto == "9-18446744073709551615"
    assert read_entry({b"type": b"cancel", b"upto": b"\xff"}) == Entry("cancel")
    assert read_entry({b"type": b"mood", b"data": b"\xff"}) == Entry("mood")
    assert read_entry({}) == Entry("")


@pytest.mark.parametrize(
    "change",
    [{b"data": b""}, {b"entry": b"x"}, {b"delivered": b"-1"}, {b"job_id": b"2-0"}, {b"type": b"begin"}],
)
def test_an_entry_that_contradicts_itself_is_refused(change: dict[bytes, bytes]) -> None:
    with pytest.raises(WireError):
        read_entry(as_read(stream_fields(audio(), "1-0", 1)) | change)


def test_an_entry_without_data_is_refused() -> None:
    with pytest.raises(WireError, match="no field data"):
        read_entry({b"type": b"audio"})


@given(st.dictionaries(st.sampled_from([b"type", b"job_id", b"entry", b"delivered", b"data", b"upto"]), st.binary()))
def test_any_entry_is_read_or_a_wire_error(fields: dict[bytes, bytes]) -> None:
    for kind in (fields.get(b"type", b""), b"audio", b"cancel"):
        with suppress(WireError):
            assert read_entry(fields | {b"type": kind}).type == kind.decode("utf-8", "replace")


@given(st.binary())
def test_any_bytes_are_a_message_or_a_wire_error(data: bytes) -> None:
    _reads_or_refuses(data)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.binary() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(0, 9), inner, max_size=3),
    max_leaves=8,
)


@given(MESSAGE, st.sampled_from(sorted(" ".join(["v type job_id session_id", *ORDER.values()]).split())), JUNK)
def test_any_value_in_any_key_is_a_message_or_a_wire_error(message: Message, key: str, value: object) -> None:
    _reads_or_refuses(msgpack.packb(message.model_dump() | {key: value}))


@given(MESSAGE, st.data())
def test_a_message_cut_short_or_with_more_behind_it_is_refused(message: Message, data: st.DataObject) -> None:
    packed = pack(message)
    cut = data.draw(st.integers(0, len(packed) - 1))
    for bad in (packed[:cut], packed + b"\0"):
        with pytest.raises(WireError):
            unpack(bad)


def _reads_or_refuses(data: bytes) -> None:
    with suppress(WireError):
        message = unpack(data)
        assert unpack(pack(message)) == message


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2}, {"v": True}, {"v": "1"}, {"type": "mood"}, {"type": None}, {"job_id": ""}, {"session_id": "{s}"},
        {"seq": -1}, {"seq": 1.0}, {"seq": "0"}, {"seq": True}, {"pos": MAX_COUNT + 1}, {"data": "text"},
        {"data": None}, {"is_final": 0},
    ],
)  # fmt: skip
def test_types_are_read_strictly(change: dict[str, object]) -> None:
    with pytest.raises(WireError):
        unpack(msgpack.packb(audio().model_dump() | change))


def test_a_newer_writer_is_read_by_what_is_known() -> None:
    newer = audio().model_dump() | {"mood": {"calm": [1, None]}}
    assert unpack(msgpack.packb(newer)) == audio()
    error = {
        "v": 1,
        "type": "error",
        "job_id": "1-0",
        "session_id": "s1",
        "code": "tired",
        "message": "m",
        "retryable": True,
    }
    read = unpack(msgpack.packb(error))
    assert isinstance(read, Error)
    assert (read.code, read.field) == ("tired", None)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\xc0", b"\x80", b"\x90", b"\x82\xa1a\x01\xa1a\x02", b"\x81\x01\x02", b"\x81\xc4\x01a\x02",
        b"\xdf\xff\xff\xff\xff", b"\x81\xa1a" * 3_000, b"\x91" * 100_000, b"\x81\xa1a\xd7\xff" + bytes(8), b"\xc1",
        b"\x81\xa1a\xa1\xff",
    ],
)  # fmt: skip
def test_what_is_not_one_map_of_string_keys_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        unpack(data)


def test_the_samples_of_a_chunk_have_a_limit() -> None:
    largest = audio(data=bytes(MAX_DATA_BYTES))
    assert unpack(pack(largest)) == largest
    with pytest.raises(ValidationError):
        audio(data=bytes(MAX_DATA_BYTES + 1))
    with pytest.raises(WireError):
        unpack(msgpack.packb(audio().model_dump() | {"data": bytes(MAX_DATA_BYTES + 1)}))


def test_a_message_has_a_limit() -> None:
    with pytest.raises(WireError, match="at most 278,528"):
        pack(Cancelled(job_id="1-0", session_id="s1", text_spoken="x" * MAX_MESSAGE_BYTES))
    with pytest.raises(WireError, match="at most 278,528"):
        unpack(bytes(MAX_MESSAGE_BYTES + 1))


@pytest.mark.parametrize(
    "change", [{"seq": -1}, {"seq": 1.5}, {"job_id": "a b"}, {"data": bytearray(2)}, {"data": "x"}]
)
def test_a_worker_cannot_build_a_message_that_is_none(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        audio(**change)


def test_messages_do_not_change() -> None:
    with pytest.raises(ValidationError):
        audio().seq = 1  # type: ignore[misc]


def test_error_codes_are_plain_words_on_the_wire() -> None:
    error = Error(job_id="1-0", session_id="s1", code=ErrorCode.NO_AUDIO, message="m", retryable=True)
    assert type(error.code) is str
    assert msgpack.unpackb(pack(error))["code"] == "no_audio"


@given(st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1), st.integers(0, 20), st.data())
def test_codes_come_back_as_they_were_written(segment: int, first: int, n_frames: int, data: st.DataObject) -> None:
    codes = data.draw(st.binary(min_size=n_frames * CODE_FRAME_BYTES, max_size=n_frames * CODE_FRAME_BYTES))
    packed = pack_codes(segment, first, codes)
    assert packed[:6] == segment.to_bytes(2, "little") + first.to_bytes(4, "little")
    assert unpack_codes(packed) == (segment, first, codes)


@pytest.mark.parametrize(
    "bad", [(-1, 0, b""), (65_536, 0, b""), (0, 2**32, b""), (0, 0, b"\0" * 31), (0, 0, bytes(MAX_CODES_BYTES + 32))]
)
def test_codes_out_of_range_are_not_written(bad: tuple[int, int, bytes]) -> None:
    with pytest.raises(WireError):
        pack_codes(*bad)


@pytest.mark.parametrize("n_bytes", [0, 5, 7, 37, 39, 6 + MAX_CODES_BYTES + 32])
def test_codes_that_are_not_whole_frames_are_refused(n_bytes: int) -> None:
    with pytest.raises(WireError):
        unpack_codes(bytes(n_bytes))


def test_every_type_has_its_model() -> None:
    assert {kind: model.model_fields["type"].default for kind, model in MESSAGE_OF.items()} == {
        k: k for k in MESSAGE_OF
    }
