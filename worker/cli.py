"""The command `makima-tts`. Each command imports what it needs when it runs: `--help` loads neither torch nor redis."""

from __future__ import annotations

if __name__ == "__main__":  # as python -m worker.cli; the imports below take a while
    from worker.first import begin

    begin()

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from worker.bench import cli as bench
from worker.first import START
from worker.flags import FLAGS, NONE, OF_THE_RELAY, Given, settings_of, takes

RELAY_FLAGS = [name for name in FLAGS if name.startswith(OF_THE_RELAY)]

app = typer.Typer(
    name="makima-tts",
    help="Speech for Makima: speak jobs from a Redis stream, audio chunks back while they are being made.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich's help takes longer to load than everything else that --help needs
)
queue_app = typer.Typer(help="The queue: its state, dead letters, repair.", no_args_is_help=True)
voices_app = typer.Typer(help="The voices of this installation.", no_args_is_help=True)
schema_app = typer.Typer(help="The contract as JSON Schema, AsyncAPI and golden bytes.", no_args_is_help=True)
model_app = typer.Typer(help="The speech model's files: download and check them.", no_args_is_help=True)
for name, sub in {
    "queue": queue_app, "voices": voices_app, "model": model_app, "schema": schema_app, "bench": bench.app,
}.items():  # fmt: skip
    app.add_typer(sub, name=name)

Language = Annotated[str | None, typer.Option(help="One of the ten languages, or Auto.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def main() -> None:
    """Run a command. A MakimaError ends it with its sentence on stderr and status 1."""
    try:
        app()
    except Exception as error:
        from schemas.errors import MakimaError  # loads pydantic, which `--help` need not wait for

        if not isinstance(error, MakimaError):
            raise
        sys.exit(f"makima-tts: {error}")


@app.command()
@takes(*[name for name in FLAGS if name not in RELAY_FLAGS])
def worker(flags: Given = NONE) -> None:
    """Run a worker until SIGTERM or SIGINT."""
    from worker.commands.serve import serve

    raise SystemExit(serve(settings_of(flags), ends_process=START.has_begun))


@app.command()
@takes("slots", "preview_voices", "pace", "voices_dir", "voice", "health_port", "log_level")
def dev(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the embedded Valkey.")] = 6399,
    web_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Serve the page and the socket here too; 0 for any free port.")
    ] = None,
    flags: Given = NONE,
) -> None:
    """Run a Valkey and a preview worker, for development; with --web-port a relay and its page too."""
    from worker.commands.serve import dev as run

    def settings(url: str) -> Any:
        return settings_of(flags, redis_url=url, engine="preview", relay_port=web_port)

    raise SystemExit(run(port, settings, web_port is not None))


@app.command()
@takes("redis_url", "session_redis_url", "prefix", *RELAY_FLAGS, "log_level", "log_format")
def relay(flags: Given = NONE) -> None:
    """Serve WebSocket clients and the page until SIGTERM or SIGINT."""
    from worker.commands.relay import relay as run

    raise SystemExit(run(settings_of(flags)))


@app.command()
@takes("engine", "preview_voices", "model", "device", "dtype", "voice", "voices_dir", "cache_dir")
def demo(
    text: str,
    out: Annotated[Path, typer.Option(help="The WAV file to write.")] = Path("demo.wav"),
    flags: Given = NONE,
    language: Language = None,
    as_json: AsJson = False,
) -> None:
    """Speak a text into a WAV file, all in one process."""
    from worker.commands.demo import demo as run

    raise SystemExit(run(text, out, language, as_json, lambda url: settings_of(flags, redis_url=url)))


@app.command()
@takes("redis_url", "session_redis_url", "prefix")
def speak(
    text: Annotated[str, typer.Argument(help="The text, or - to speak standard input while it arrives.")],
    out: Annotated[str, typer.Option(help="WAV file to write, or - for raw samples on stdout.")] = "-",
    flags: Given = NONE,
    session: Annotated[str | None, typer.Option(help="Session id; a new one by default.")] = None,
    voice: Annotated[str | None, typer.Option(help="The voice to speak with.")] = None,
    language: Language = None,
    sample_rate: Annotated[int | None, typer.Option(help="8000 to 48000 Hz.")] = None,
    encoding: Annotated[str | None, typer.Option(help="pcm_s16le, pcm_f32le, mulaw or alaw.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same speech.")] = None,
    temperature: Annotated[float | None, typer.Option(help="0 to 2; the voice's by default.")] = None,
    ttl_ms: Annotated[int | None, typer.Option(help="Milliseconds after which an unbegun job expires.")] = None,
    ahead_ms: Annotated[
        int | None, typer.Option(help="How far speech may be ahead of its listener; 0, no limit, with --out.")
    ] = None,
    timeout_s: Annotated[float, typer.Option(help="Seconds without a new entry after which to give up.")] = 60.0,
    as_json: AsJson = False,
) -> None:
    """Publish a speak job to any Redis and receive its audio."""
    from worker.commands.speak import SpeakRequest
    from worker.commands.speak import speak as run

    options = {
        "voice": voice, "language": language, "sample_rate": sample_rate, "encoding": encoding, "seed": seed,
        "temperature": temperature, "ttl_ms": ttl_ms, "ahead_ms": ahead_ms,
    }  # fmt: skip
    given = {name: value for name, value in options.items() if value is not None}
    raise SystemExit(run(settings_of(flags), SpeakRequest(text, out, session, given, timeout_s, as_json)))


@app.command()
@takes("redis_url", "session_redis_url", "prefix")
def cancel(
    session: str,
    upto: Annotated[str | None, typer.Option(help="Entry id of the last job to cancel; all by default.")] = None,
    flags: Given = NONE,
) -> None:
    """Cancel a session's jobs, the running one included."""
    from worker.commands.queue.letters import cancel as run

    raise SystemExit(run(settings_of(flags), session, upto))


@queue_app.command("status")
@takes("redis_url", "prefix")
def queue_status(flags: Given = NONE, as_json: AsJson = False) -> None:
    """Show the queue's depths, its damage, and the workers."""
    from worker.commands.queue.status import status

    raise SystemExit(status(settings_of(flags), as_json))


@queue_app.command("dead")
@takes("redis_url", "prefix")
def queue_dead(
    count: Annotated[int, typer.Option(help="How many, newest first.")] = 20,
    flags: Given = NONE,
    as_json: AsJson = False,
) -> None:
    """List the newest dead letters and their reasons."""
    from worker.commands.queue.letters import dead

    raise SystemExit(dead(settings_of(flags), count, as_json))


@queue_app.command("redrive")
@takes("redis_url", "prefix")
def queue_redrive(
    dead_id: Annotated[list[str] | None, typer.Argument(help="Ids of dead letters.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All dead letters.")] = False,
    flags: Given = NONE,
) -> None:
    """Publish dead jobs again."""
    from worker.commands.queue.redrive import redrive

    raise SystemExit(redrive(settings_of(flags), dead_id or [], every))


@queue_app.command("repair")
@takes("redis_url", "prefix")
def queue_repair(
    yes: Annotated[bool, typer.Option("--yes", help="Repair; without this the repairs are only listed.")] = False,
    flags: Given = NONE,
    as_json: AsJson = False,
) -> None:
    """List the queue's damage and its repairs, or repair it; status 1 if damage is left."""
    from worker.commands.queue.repair import repair

    raise SystemExit(repair(settings_of(flags), yes, as_json))


@voices_app.command("list")
@takes("voices_dir")
def voices_list(flags: Given = NONE, as_json: AsJson = False) -> None:
    """List the voices, their status and their languages."""
    from worker.commands.voices import show

    raise SystemExit(show(settings_of(flags), as_json))


@voices_app.command("check")
@takes("voices_dir")
def voices_check(
    flags: Given = NONE,
    judge: Annotated[
        bool | None,
        typer.Option("--judge/--no-judge", help="Recognise words and speakers; by default with the extra `quality`."),
    ] = None,
) -> None:
    """Check every card and its reference; status 1 if one cannot be used."""
    from worker.commands.voices import check

    raise SystemExit(check(settings_of(flags), judge))


@voices_app.command("audition")
@takes("model", "device", "dtype", "voices_dir", "cache_dir")
def voices_audition(
    out: Annotated[Path, typer.Option(help="Folder for WAV, PNG and index.html.")] = Path("audition"),
    flags: Given = NONE,
    voice: Annotated[list[str] | None, typer.Option(help="Once for each voice; the default one.")] = None,
    engine: Annotated[list[str] | None, typer.Option(help="Once for each engine: preview, espeak-ng, qwen.")] = None,
    mode: Annotated[list[str] | None, typer.Option(help="Once for each mode: icl, x_vector; the card's.")] = None,
    language: Annotated[list[str] | None, typer.Option(help="Once for each language; the cards' languages.")] = None,
    text: Annotated[list[str] | None, typer.Option(help="Once for each text; a few sentences by default.")] = None,
) -> None:
    """Render voices, engines and modes side by side, as sound and pictures on one page."""
    from worker.commands.audition.run import audition

    given = [tuple(one or ()) for one in (engine, voice, mode, language, text)]
    raise SystemExit(audition(settings_of(flags), given, out))


@model_app.command("fetch")
def model_fetch(
    name: Annotated[str, typer.Argument(help="Hub name, such as Qwen/Qwen3-TTS-12Hz-0.6B-Base.")],
    out: Annotated[Path | None, typer.Option(help="A plain directory for it; the hub's cache by default.")] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit; main by default.")] = None,
) -> None:
    """Download what the engine needs of a model, and print the directory for --model."""
    from worker.commands.model import fetch

    raise SystemExit(fetch(name, out, revision))


@model_app.command("check")
def model_check(
    name: Annotated[str, typer.Argument(help="Directory, or hub name that was fetched.")],
) -> None:
    """Check that a model is complete and supported, without loading it; status 1 if not."""
    from worker.commands.model import check

    raise SystemExit(check(name))


@app.command()
@takes("redis_url", "session_redis_url", "engine", "model", "device", "dtype", "slots", "voices_dir", "voice")
def doctor(flags: Given = NONE, as_json: AsJson = False) -> None:
    """Check this installation and print a remedy for each problem."""
    from worker.commands.doctor.run import doctor as run

    raise SystemExit(run(settings_of(flags), as_json))


@schema_app.command("export")
def schema_export(
    folder: Annotated[Path, typer.Argument(help="Where json/, vectors/ and asyncapi.yaml go.")] = Path("schemas"),
    docs: Annotated[Path | None, typer.Option(help="Where errors.md goes; not written by default.")] = None,
    check: Annotated[bool, typer.Option(help="Write nothing; status 1 if a file is stale.")] = False,
) -> None:
    """Write the contract's generated files."""
    from schemas.export import export, stale

    paths = stale(folder, docs) if check else export(folder, docs)
    for path in paths:
        typer.echo(f"stale: {path}" if check else path)
    raise SystemExit(int(check and bool(paths)))


if __name__ == "__main__":
    main()
