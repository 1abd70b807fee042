"""Take-overs are measured in what a session received."""

from __future__ import annotations

import pytest

from schemas.messages import Audio, Begin, Cancelled
from schemas.wire import stream_fields
from tests.chaos.evidence import takeovers_ms


def _raw(fields: list[bytes | str | int]) -> dict[bytes, bytes]:
    words = [word if isinstance(word, bytes) else str(word).encode() for word in fields]
    return dict(zip(words[::2], words[1::2], strict=True))


def _begin(attempt: int, resumed_at: int, entry_id: str = "5-0") -> dict[bytes, bytes]:
    message = Begin(
        v=1, type="begin", job_id="j", session_id="s", voice="v", model="m", sample_rate=8000, encoding="mulaw",
        attempt=attempt, resumed_at=resumed_at, resumed_by="codes" if resumed_at else None,
    )  # fmt: skip
    return _raw(stream_fields(message, entry_id, resumed_at))


def _audio(seq: int) -> dict[bytes, bytes]:
    message = Audio(v=1, type="audio", job_id="j", session_id="s", seq=seq, pos=4 * seq, data=b"1234", is_final=False)
    return _raw(stream_fields(message, "5-0", 4 * seq + 4, bytes(6)))


CANCELLED = _raw(
    stream_fields(Cancelled(v=1, type="cancelled", job_id="j", session_id="s", samples=4, text_spoken=None), "5-0", 4)
)
CANCEL = {b"type": b"cancel", b"upto": b"5-0"}


def test_a_takeover_is_as_long_as_the_silence_before_it_and_a_cancel_is_none() -> None:
    heard = [
        (b"10-0", _begin(1, 0), 1.0),
        (b"10-1", _audio(0), 1.5),
        (b"20-0", _begin(2, 4), 3.5),
        (b"20-1", _audio(1), 3.6),
        (b"21-0", CANCEL, 3.7),
        (b"22-0", _begin(2, 8), 4.7),
        (b"22-1", CANCELLED, 4.8),
        (b"30-0", _begin(1, 0, "6-0"), 5.8),
        (b"40-0", _begin(2, 0, "6-0"), 6.8),
    ]
    assert takeovers_ms([heard, []]) == pytest.approx([2000, 1000])
