"""`demo`: Redis, worker and client in one process; a job takes the same way as in production."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import soundfile
from rich.console import Console

from schemas.errors import MakimaError
from schemas.jobs import job_fields
from schemas.messages import Complete, Error
from worker.commands.received import ReceivedAudio, follow
from worker.embedded import embedded_valkey
from worker.engine.choose import make_engine
from worker.service import Worker
from worker.settings import Settings
from worker.stream.client import Client
from worker.stream.keys import Keys
from worker.stream.transport.address import addresses

START_TIMEOUT_S = 600.0  # for the warm-up of the real model on a CPU with few cores
SILENCE_TIMEOUT_S = 60.0
ENDINGS = {
    "length": "the model did not end the speech, and the text's frame budget was used up",
    "runaway": "the model produced no speech any more and was stopped",
    "silent": "the text has nothing to speak, so the file has no samples; use a text with letters or digits",
}


def demo(text: str, out: Path, language: str | None, as_json: bool, settings_for: Callable[[str], Settings]) -> int:
    """Speak `text` into a WAV file and print the measurements. Returns 1 after printing an error."""
    try:
        options = {"ttl_ms": 300_000, "ahead_ms": 0} | ({} if language is None else {"language": language})
        fields = job_fields(session_id="demo", text=text, **options)
        with embedded_valkey() as valkey:
            received = asyncio.run(_receive(settings_for(valkey.url), fields))
        if isinstance(received.end, Error):
            print(f"makima-tts: {received.end.code}: {received.end.message}", file=sys.stderr)
            return 1
        received.write_wav(out)
    except (MakimaError, OSError, soundfile.LibsndfileError) as error:
        print(f"makima-tts: {error}", file=sys.stderr)
        return 1
    _report(received, out, as_json)
    return 0


async def _receive(settings: Settings, fields: dict[str, str]) -> ReceivedAudio:
    settings = settings.model_copy(update={"slots": 1})  # one utterance; more slots cost memory and warm-up time
    worker = Worker(settings, make_engine(settings))
    serving = asyncio.create_task(worker.run())
    try:
        await _until_ready(worker, serving)
        async with Client(*addresses(settings), Keys(settings.prefix)) as client:
            received = ReceivedAudio()
            entry_id = await client.publish(fields)
            listening = asyncio.create_task(_listen(client, fields["session_id"], entry_id, received))
            await asyncio.wait({listening, serving}, return_when=asyncio.FIRST_COMPLETED)
            if not listening.done():  # the worker has ended; awaiting it below raises the reason
                listening.cancel()
            await asyncio.gather(listening, return_exceptions=serving.done())
    finally:
        worker.stop()
        await serving
    return received


async def _listen(client: Client, session_id: str, entry_id: str, received: ReceivedAudio) -> None:
    async for entry in follow(client, session_id, entry_id, SILENCE_TIMEOUT_S):
        received.add(entry.message)


async def _until_ready(worker: Worker, serving: asyncio.Task[None]) -> None:
    deadline = monotonic() + START_TIMEOUT_S
    while not worker.is_ready():
        if serving.done():
            await serving  # raises the error that stopped it
        if monotonic() > deadline:
            raise TimeoutError(f"the worker was not ready within {START_TIMEOUT_S:.0f} s")
        await asyncio.sleep(0.005)


def _report(received: ReceivedAudio, out: Path, as_json: bool) -> None:
    figures = received.figures()
    if as_json:
        end = received.end.model_dump(mode="json") if isinstance(received.end, Complete) else None
        print(json.dumps({"out": str(out), **figures, "complete": end}))
        return
    console = Console(highlight=False, soft_wrap=True)
    model = received.begin.model if received.begin else "?"
    if model.startswith("preview"):
        voice = model.removeprefix("preview-")
        console.print(f"[yellow]Spoken by the PREVIEW engine ({voice}): a stand-in, not Makima's voice.[/yellow]")
    first = figures["first_audible_s"]
    console.print(f"first audible sound after {first * 1000:.1f} ms" if first is not None else "nothing audible")
    console.print(
        f"{figures['audio_s']:.2f} s of audio in {figures['chunks']} chunks, "
        f"real-time factor {figures['rtf'] or 0:.4f}, model {model}"
    )
    finish = str(received.end.finish) if isinstance(received.end, Complete) else "?"
    console.print(f"finish {finish}" + (f": {ENDINGS[finish]}" if finish in ENDINGS else ""))
    console.print(f"wrote {out}")
