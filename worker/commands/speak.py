"""`speak`: publish one job to any Redis and listen to it, into a WAV file or as raw samples."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import soundfile
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from schemas.errors import MakimaError
from schemas.jobs import job_fields
from schemas.messages import Audio, Cancelled, Complete, Error, Message
from schemas.wire import Entry
from worker.commands.received import ReceivedAudio, follow
from worker.commands.signals import Leaving
from worker.commands.terminal import complain, redis_problem
from worker.settings import Settings
from worker.stream.client import Client
from worker.stream.keys import Keys
from worker.stream.transport.address import addresses
from worker.stream.transport.retry import RedisError

RAW = "-"
CANCEL_WITHIN_S = 2.0


@dataclass(frozen=True, slots=True)
class SpeakRequest:
    """The arguments of the command. out: a path, or "-" for raw samples on stdout (none with as_json)."""

    text: str
    out: str
    session: str | None
    options: Mapping[str, Any]
    timeout_s: float
    as_json: bool


def speak(settings: Settings, request: SpeakRequest) -> int:
    """0 when the job was spoken, 1 on an error, 3 when it was cancelled."""
    session_id = request.session or f"cli-{secrets.token_hex(6)}"
    if request.out == RAW and not request.as_json and sys.stdout.isatty():
        complain("raw samples would be written to the terminal; name a file with --out, or use a pipe")
        return 2
    try:
        fields = job_fields(session_id=session_id, text=request.text, **request.options)
        received = asyncio.run(_listen(settings, request, fields))
    except BrokenPipeError:  # the reader of the samples has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # discards what is buffered
        return 1
    except (RedisError, OSError) as error:
        complain(redis_problem(error))
        return 1
    except MakimaError as error:
        complain(error)
        return 1
    return _conclude(received, request)


def _conclude(received: ReceivedAudio, request: SpeakRequest) -> int:
    """Write the WAV file, also of a job that ended early, and return the exit status."""
    if request.out != RAW and (received.data or isinstance(received.end, Complete)):
        try:
            received.write_wav(Path(request.out))
        except (OSError, soundfile.LibsndfileError) as error:
            complain(error)
            return 1
    if isinstance(received.end, Error):
        complain(f"{received.end.code}: {received.end.message}")
        return 1
    if isinstance(received.end, Cancelled):
        complain("the job was cancelled")
        return 3
    return 0


async def _listen(settings: Settings, request: SpeakRequest, fields: Mapping[str, str]) -> ReceivedAudio:
    received = ReceivedAudio()
    console = Console(stderr=True, highlight=False)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[received]}"),
        TimeElapsedColumn(),
    )
    bar = Progress(*columns, console=console, transient=True, disable=request.as_json or not console.is_terminal)
    async with Client(*addresses(settings), Keys(settings.prefix)) as client:
        entry_id = await client.publish(fields)
        leaving = Leaving()
        try:
            with bar:
                row = bar.add_task(f"session {fields['session_id']}", total=None, received="queued")
                async for entry in follow(client, fields["session_id"], entry_id, request.timeout_s):
                    await asyncio.to_thread(_show, received, entry, request)  # stdout may be a pipe that is full
                    bar.update(row, received=f"{received.figures()['audio_s']:.1f} s received")
        except (asyncio.CancelledError, BrokenPipeError):  # a signal or a closed pipe: nothing reads the audio any more
            with suppress(TimeoutError, RedisError, OSError):
                await asyncio.wait_for(client.cancel(fields["session_id"], entry_id), CANCEL_WITHIN_S)
            leaving.end()
            raise
    return received


def _show(received: ReceivedAudio, entry: Entry, request: SpeakRequest) -> None:
    fresh = received.add(entry.message)
    if request.as_json and entry.message is not None:
        print(json.dumps(_described(entry.message)), flush=True)
    elif request.out == RAW and fresh:
        sys.stdout.buffer.write(fresh)
        sys.stdout.buffer.flush()
    if isinstance(entry.message, Complete) and not request.as_json:
        print(_summary(entry.message), file=sys.stderr)


def _summary(complete: Complete) -> str:
    if complete.finish == "silent":
        return "no audio: the text has nothing to speak; send letters or digits to hear something"
    return f"{complete.audio_ms / 1000:.2f} s in {complete.chunks} chunks, model {complete.model}"


def _described(message: Message) -> dict[str, Any]:
    """The message for JSON; a chunk's samples are replaced by their number of bytes."""
    if isinstance(message, Audio):
        fields = {name: getattr(message, name) for name in ("v", "type", "job_id", "session_id", "seq", "pos")}
        return fields | {"n_bytes": len(message.data), "is_final": message.is_final}
    return message.model_dump(mode="json")
