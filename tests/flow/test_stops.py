"""What ends an utterance early: a cancel, and another hand's entry on the session's stream."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis

from tests.conftest import Server, eventually, make_settings, running
from tests.flow.listening import KEYS, Heard, read_session, until_ended
from tests.tone import ToneEngine
from worker.engine.segment_stream import SegmentStream
from worker.stream.client import Client
from worker.stream.scripts import APPEND, BEGIN, CLAIM, END, RECLAIM, SETTLE, SWEEP
from worker.stream.session_writer import SessionWriter

TEXT = "A sentence that goes on and on, and that nobody wants to hear to its end. " * 4


@contextmanager
def monitored(server: Server) -> Iterator[list[str]]:
    """Every command that the server carries out meanwhile, as MONITOR shows it; those of scripts come from "lua"."""
    lines: list[str] = []
    with redis.Redis.from_url(server.url, protocol=2) as client, client.monitor() as monitor:

        def read() -> None:
            for command in monitor.listen():
                lines.append(f"{command['client_type']}:{command['client_port']} {command['command']}")
                if "the end" in lines[-1]:
                    return

        thread = threading.Thread(target=read)
        thread.start()
        try:
            yield lines
        finally:
            client.echo("the end")
            thread.join(10)


async def test_a_cancel_costs_three_round_trips_and_frees_the_slot_after_the_first(
    valkey: redis.Redis, valkey_server: Server, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_streams: list[SegmentStream] = []
    opened = SegmentStream.__init__
    ended = SessionWriter.end
    were_open: list[bool] = []

    def note_opened(stream: SegmentStream, *arguments: object) -> None:
        opened(stream, *arguments)  # type: ignore[arg-type]
        open_streams.append(stream)

    async def note_ended(writer: SessionWriter, *arguments: object, **named: object) -> None:
        were_open.append(not open_streams[-1].is_cancelled)
        await ended(writer, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(SegmentStream, "__init__", note_opened)
    monkeypatch.setattr(SessionWriter, "end", note_ended)
    async with running(make_settings(valkey_server.url, lease_ms=60_000), ToneEngine(2, frame_s=0.02)) as worker:
        await client.publish({"session_id": "before", "text": "So that the server knows every script."})
        await until_ended(client, "before")
        entry_id = await client.publish({"session_id": "s", "text": TEXT})
        await eventually(lambda: len(read_session(valkey, "s").get(entry_id, Heard()).chunks) > 2)
        with monitored(valkey_server) as lines:
            await client.cancel("s")
            await until_ended(client, "s")
            await eventually(lambda: not worker._running)
    assert _sent(lines) == ["append", "end", "settle"]
    assert were_open[-1] is False
    assert read_session(valkey, "s")[entry_id].cancelled.samples > 0


def _sent(lines: list[str]) -> list[str]:
    """The scripts and commands that the worker sent over its connection after the cancel entry; claims left out."""
    names = {script.sha: script.name for script in (APPEND, BEGIN, CLAIM, END, RECLAIM, SETTLE, SWEEP)}
    after = next(n for n, line in enumerate(lines) if KEYS.audio("s") in line and "type cancel" in line)
    following = [line.split() for line in lines[after + 1 :]]
    worker = next(client for client, _, *words in following if APPEND.sha in words)
    sent = [
        names[words[0]] if command == "EVALSHA" else command
        for client, command, *words in following
        if client == worker
    ]
    return [name for name in sent if name not in ("claim", "reclaim", "sweep")]


async def test_another_hands_entry_stops_the_writer_and_the_job_is_resumed_at_once(
    valkey: redis.Redis, valkey_server: Server, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    stranger = {"type": "begin", "job_id": "another", "entry": "1-1", "delivered": "0", "data": b"\x80"}
    async with running(make_settings(valkey_server.url), ToneEngine(2, frame_s=0.02)) as worker:
        entry_id = await client.publish({"session_id": "s", "text": TEXT})
        await eventually(lambda: valkey.xlen(KEYS.audio("s")) > 3)
        last: Any = valkey.xrevrange(KEYS.audio("s"), count=1)
        epoch = int(last[0][0].partition(b"-")[0]) + 5
        valkey.xadd(KEYS.audio("s"), stranger, id=f"{epoch}-0")  # type: ignore[arg-type]
        await eventually(lambda: valkey.xlen(KEYS.jobs) == 0, within_s=30)
        released = worker.metrics.registry.get_sample_value("makima_tts_settled_total", {"how": "release"})
    entries: Any = valkey.xrange(KEYS.audio("s"))
    ours = [fields for _, fields in entries if fields.get(b"entry") == entry_id.encode()]
    assert [fields[b"type"] for fields in ours].count(b"begin") == 2
    assert ours[-1][b"type"] == b"complete"
    assert released == 1
    assert "unexpected" not in caplog.text
