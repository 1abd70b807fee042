"""`speak`: publish one job to any Redis and listen to it, into a WAV file or as raw samples.

The text "-" is standard input, spoken while it arrives.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
from collections.abc import Mapping
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
from worker.commands.arriving import arriving
from worker.commands.received import ReceivedAudio, follow
from worker.commands.signals import Leaving
from worker.commands.terminal import complain, redis_problem
from worker.settings import Settings
from worker.stream.client import Client
from worker.stream.keys import Keys
from worker.stream.text_writer import TextWriter
from worker.stream.transport.address import addresses
from worker.stream.transport.retry import RedisError

RAW = STDIN = "-"
NO_LIMIT = 0


@dataclass(frozen=True, slots=True)
class SpeakRequest:
    """The arguments of the command. text: or "-" for stdin. out: or "-" for raw samples on stdout (none with as_json).

    options: other fields of the job.
    """

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
        received = asyncio.run(_listen(settings, request, _fields(session_id, request)))
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


def _fields(session_id: str, request: SpeakRequest) -> dict[str, str]:
    """The job's fields. Raises JobError.

    A file has no listener whom the speech could be too far ahead of. A pipe may lead to a player: the worker's limit
    stays, so that closing the pipe stops the work on what would never be heard.
    """
    options = ({} if request.out == RAW else {"ahead_ms": NO_LIMIT}) | dict(request.options)
    if request.text == STDIN:
        return job_fields(session_id, job_id=f"stdin-{secrets.token_hex(6)}", **options)
    return job_fields(session_id, request.text, **options)


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
    async with Client(*addresses(settings), Keys(settings.prefix)) as client:
        session_id, entry_id = fields["session_id"], await client.publish(fields)
        leaving = Leaving()
        try:
            if request.text != STDIN:
                return await _receive(client, request, session_id, entry_id, None)
            text = client.text(session_id, fields["job_id"])
            receiving = asyncio.create_task(_receive(client, request, session_id, entry_id, text))
            feeding = asyncio.create_task(text.write_all(arriving()))
            await _until_first(receiving, feeding)
            return receiving.result()
        except (asyncio.CancelledError, OSError, RedisError, MakimaError):  # nothing reads the audio any more
            await client.try_to_cancel(session_id, entry_id)
            leaving.end()
            raise


async def _until_first(receiving: asyncio.Task[ReceivedAudio], feeding: asyncio.Task[None]) -> None:
    """Wait for the end of the job, which may come before the end of its text. Raises the first error of either."""
    running = {receiving, feeding}
    try:
        while receiving in running:
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _receive(
    client: Client, request: SpeakRequest, session_id: str, entry_id: str, text: TextWriter | None
) -> ReceivedAudio:
    """Receive the job to its end. text: that of an open job, which may pause for as long as the worker waits for it."""
    received = ReceivedAudio()
    console = Console(stderr=True, highlight=False)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[received]}"),
        TimeElapsedColumn(),
    )

    def waits_for_text() -> bool:
        return text is not None and not text.has_ended and received.begin is not None

    entries = follow(client, session_id, entry_id, request.timeout_s, waits_for_text)
    with Progress(*columns, console=console, transient=True, disable=request.as_json or not console.is_terminal) as bar:
        row = bar.add_task(f"session {session_id}", total=None, received="queued")
        async for entry in entries:
            await asyncio.to_thread(_show, received, entry, request)  # stdout may be a pipe that is full
            bar.update(row, received=f"{received.figures()['audio_s']:.1f} s received")
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
