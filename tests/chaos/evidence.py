"""The files that a run keeps: durations of take-overs, and the streams of sessions with violations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.errors import WireError
from schemas.messages import Audio, Begin
from schemas.wire import read_entry
from tests.chaos.ledger import PLANTED
from tests.chaos.recorder import Heard

if TYPE_CHECKING:
    from tests.chaos.drive import Outcome

Raw = tuple[bytes, Mapping[bytes, bytes]]


def takeovers_ms(sessions: Iterable[Sequence[Heard]]) -> list[float]:
    """For how long each session heard nothing before its utterance began again, but for a cancel of another one."""
    found = []
    for entries in sessions:
        begun: set[bytes] = set()
        before: Heard | None = None
        for heard in entries:
            _, fields, at_s = heard
            if PLANTED in fields:
                continue
            if fields[b"type"] == b"begin":
                if before is not None and before[1][b"type"] != b"cancel" and fields[b"entry"] in begun:
                    found.append(1000 * (at_s - before[2]))
                begun.add(fields[b"entry"])
            before = heard
    return found


def sessions_of(violations: Iterable[str], sessions: Iterable[str]) -> list[str]:
    """Those that a violation names."""
    words = {word.rstrip(":") for sentence in violations for word in sentence.split()}
    return sorted(words & set(sessions))


def transcript(entries: Iterable[Raw]) -> str:
    """A session's stream to read: one line for each entry, without its samples."""
    return "\n".join(f"{stream_id.decode():<20} {_line(fields)}" for stream_id, fields in entries) + "\n"


def write(folder: Path, outcome: Outcome) -> list[str]:
    """What was done when, and of each session that a violation names its stream, as it stands and as it was heard.

    Returns those sessions.
    """
    folder.mkdir()
    (folder / "faults.txt").write_text("".join(f"{at_s:.3f} {what}\n" for at_s, what in outcome.faults))
    sessions = sessions_of(outcome.run.violations, outcome.read)
    for session_id in sessions:
        (folder / f"{session_id}.txt").write_text(transcript(outcome.read[session_id]))
        heard = outcome.recorded[session_id]
        lines = (f"{at_s:.3f} {stream_id.decode():<20} {_line(fields)}\n" for stream_id, fields, at_s in heard)
        (folder / f"{session_id}.heard.txt").write_text("".join(lines))
    return sessions


def _line(fields: Mapping[bytes, bytes]) -> str:
    try:
        entry = read_entry(fields)
    except WireError as error:
        return f"unreadable: {error}"
    words = [
        f"at {entry.at}" if entry.at else "",
        entry.type,
        entry.entry or "",
        f"delivered {entry.delivered}",
        f"upto {entry.upto}" if entry.upto else "",
    ]
    if isinstance(entry.message, Begin):
        words.append(f"attempt {entry.message.attempt} resumed_at {entry.message.resumed_at}")
    elif isinstance(entry.message, Audio):
        words.append(f"seq {entry.message.seq} pos {entry.message.pos} bytes {len(entry.message.data)}")
        words.append("final" if entry.message.is_final else "")
    elif entry.message is not None:
        words.append(repr(entry.message))
    return " ".join(filter(None, words))
