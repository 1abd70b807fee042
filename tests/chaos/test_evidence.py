"""What a run keeps of a session in which something is wrong can be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.messages import Audio, Begin, Cancelled
from schemas.wire import stream_fields
from tests.chaos.drive import Outcome
from tests.chaos.evidence import takeovers_ms, transcript, write
from tests.chaos.findings import Findings
from tests.chaos.ledger import Ledger
from tests.chaos.table import Run


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
STREAM = [
    (b"10-0", _begin(1, 0)),
    (b"10-1", _audio(0)),
    (b"20-0", _begin(2, 4)),
    (b"21-0", CANCEL),
    (b"21-1", CANCELLED),
    (b"22-0", {b"type": b"audio"}),
]


def test_a_transcript_has_a_line_for_each_entry_also_for_one_that_cannot_be_read() -> None:
    lines = transcript(STREAM).splitlines()
    assert len(lines) == len(STREAM)
    assert lines[0].split() == ["10-0", *["begin", "5-0", "delivered", "0", "attempt", "1", "resumed_at", "0"]]
    assert lines[1].split() == ["10-1", *["audio", "5-0", "delivered", "4", "seq", "0", "pos", "0", "bytes", "4"]]
    assert lines[3].endswith("cancel delivered 0 upto 5-0")
    assert "samples=4" in lines[4]
    assert "unreadable" in lines[5]


def test_the_sessions_that_violations_name_are_kept_as_read_and_as_heard(tmp_path: Path) -> None:
    found = Findings(wrong=["s j: other samples"], broken=["t: no such thing"])
    run = Run("valkey", "preview", 1, 2.0, Ledger(), found)
    recorded = {"s": [(*STREAM[0], 1.5)], "t": [], "u": []}
    outcome = Outcome(run, recorded, {"s": STREAM, "t": [], "u": STREAM}, [(1.25, "kills worker-1.log")])
    assert write(tmp_path / "kept", outcome) == ["s", "t"]
    kept = {file.name: file.read_text() for file in (tmp_path / "kept").iterdir()}
    assert kept.keys() == {"s.txt", "s.heard.txt", "t.txt", "t.heard.txt", "faults.txt"}
    assert kept["s.txt"] == transcript(STREAM)
    assert kept["s.heard.txt"].startswith("1.500 10-0 ")
    assert kept["faults.txt"] == "1.250 kills worker-1.log\n"


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
