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

app = typer.Typer(
    name="makima-tts",
    help="Speech for Makima: speak jobs from a Redis stream, audio chunks back while they are being made.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich's help takes longer to load than everything else that --help needs
)
queue_app = typer.Typer(help="What lies in the queue, what died, and how to run it again.", no_args_is_help=True)
voices_app = typer.Typer(help="The voices of this installation.", no_args_is_help=True)
schema_app = typer.Typer(help="The contract as JSON Schema, AsyncAPI and golden bytes.", no_args_is_help=True)
model_app = typer.Typer(help="The speech model's files: download them, look at them.", no_args_is_help=True)
for name, sub in {
    "queue": queue_app, "voices": voices_app, "model": model_app, "schema": schema_app, "bench": bench.app,
}.items():  # fmt: skip
    app.add_typer(sub, name=name)

RedisUrl = Annotated[str | None, typer.Option(help="Redis of the job plane, e.g. redis://127.0.0.1:6379/0.")]
SessionRedisUrl = Annotated[str | None, typer.Option(help="Redis of the session plane, if it is another.")]
Prefix = Annotated[str | None, typer.Option(help="Prefix of every key.")]
EngineName = Annotated[str | None, typer.Option(help="auto, qwen or preview.")]
ModelDir = Annotated[str | None, typer.Option(help="Directory or hub name of the Qwen3-TTS model.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Dtype = Annotated[
    str | None, typer.Option(help="auto, bfloat16, float16, float32 or float64: what Qwen3-TTS computes in.")
]
CacheDir = Annotated[Path | None, typer.Option(help="Folder of the voices' prompts, kept between starts.")]
Slots = Annotated[int | None, typer.Option(help="Utterances spoken at once.")]
Pace = Annotated[float | None, typer.Option(help="Hold the preview engine to this many times real time.")]
VoicesDir = Annotated[Path | None, typer.Option(help="Folder with <name>/voice.toml.")]
Voice = Annotated[str | None, typer.Option(help="The voice to speak with.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line instead of words.")]


def main() -> None:
    """Run a command; a foreseen error ends it with one line on stderr and status 1 or 2."""
    try:
        app()
    except Exception as error:
        from schemas.errors import MakimaError  # loads pydantic, which `--help` need not wait for

        if not isinstance(error, MakimaError):
            raise
        sys.exit(f"makima-tts: {error}")


def _settings(**flags: Any) -> Any:
    from worker.observe.logs import configure
    from worker.settings import Settings, unknown_keys

    settings = Settings.load(**flags)
    configure(settings.log_level, settings.log_format)
    import logging

    for ignored in unknown_keys():
        logging.getLogger("worker.settings").warning("%s", ignored)
    return settings


@app.command()
def worker(
    redis_url: RedisUrl = None,
    session_redis_url: SessionRedisUrl = None,
    prefix: Prefix = None,
    engine: EngineName = None,
    model: ModelDir = None,
    device: Device = None,
    dtype: Dtype = None,
    slots: Slots = None,
    pace: Pace = None,
    voices_dir: VoicesDir = None,
    cache_dir: CacheDir = None,
    voice: Annotated[str | None, typer.Option(help="Voice of jobs that name none.")] = None,
    lease_ms: Annotated[int | None, typer.Option(help="Silence after which a job is taken over.")] = None,
    grace_s: Annotated[float | None, typer.Option(help="Time to finish utterances after SIGTERM.")] = None,
    max_text_chars: Annotated[int | None, typer.Option(help="Longest text of a job.")] = None,
    health_port: Annotated[int | None, typer.Option(help="Serve /healthz, /readyz, /metrics here.")] = None,
    health_host: Annotated[str | None, typer.Option(help="Address the health port listens on.")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
    log_format: Annotated[str | None, typer.Option(help="text or json.")] = None,
) -> None:
    """Take speak jobs and speak them, until SIGTERM or SIGINT."""
    flags = dict(locals())
    flags["default_voice"] = flags.pop("voice")
    from worker.commands.serve import serve

    raise SystemExit(serve(_settings(**flags)))


@app.command()
def dev(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the embedded Valkey.")] = 6399,
    slots: Slots = None,
    pace: Pace = None,
    voices_dir: VoicesDir = None,
    voice: Voice = None,
    health_port: Annotated[int | None, typer.Option(help="Serve /healthz, /readyz, /metrics here.")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
) -> None:
    """Run a Valkey and a preview worker to try things on."""
    flags = dict(locals())
    flags["default_voice"] = flags.pop("voice")
    from worker.commands.serve import dev as run

    port = flags.pop("port")
    raise SystemExit(run(port, lambda url: _settings(redis_url=url, engine="preview", **flags)))


@app.command()
def demo(
    text: str,
    out: Annotated[Path, typer.Option(help="The WAV file to write.")] = Path("demo.wav"),
    engine: EngineName = None,
    model: ModelDir = None,
    device: Device = None,
    dtype: Dtype = None,
    voice: Voice = None,
    language: Annotated[str | None, typer.Option(help="One of the ten languages, or Auto.")] = None,
    voices_dir: VoicesDir = None,
    cache_dir: CacheDir = None,
    as_json: AsJson = False,
) -> None:
    """Speak a text into a WAV file, all in one process."""
    from worker.commands.demo import demo as run

    flags = {
        "engine": engine, "model": model, "device": device, "dtype": dtype, "voices_dir": voices_dir,
        "cache_dir": cache_dir, "default_voice": voice,
    }  # fmt: skip
    raise SystemExit(run(text, out, language, as_json, lambda url: _settings(redis_url=url, **flags)))


@app.command()
def speak(
    text: str,
    out: Annotated[str, typer.Option(help="WAV file to write, or - for raw samples on stdout.")] = "-",
    redis_url: RedisUrl = None,
    session_redis_url: SessionRedisUrl = None,
    prefix: Prefix = None,
    session: Annotated[str | None, typer.Option(help="Session id; a fresh one by default.")] = None,
    voice: Voice = None,
    language: Annotated[str | None, typer.Option(help="One of the ten languages, or Auto.")] = None,
    sample_rate: Annotated[int | None, typer.Option(help="8000 to 48000 Hz.")] = None,
    encoding: Annotated[str | None, typer.Option(help="pcm_s16le, pcm_f32le, mulaw or alaw.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same speech.")] = None,
    temperature: Annotated[float | None, typer.Option(help="0 to 2; the voice's by default.")] = None,
    ttl_ms: Annotated[int | None, typer.Option(help="Give up if not begun by then.")] = None,
    timeout_s: Annotated[float, typer.Option(help="Give up after this long without a new entry.")] = 60.0,
    as_json: AsJson = False,
) -> None:
    """Publish a speak job to any Redis and listen to it."""
    from worker.commands.speak import SpeakRequest
    from worker.commands.speak import speak as run

    options = {
        "voice": voice, "language": language, "sample_rate": sample_rate, "encoding": encoding, "seed": seed,
        "temperature": temperature, "ttl_ms": ttl_ms,
    }  # fmt: skip
    given = {name: value for name, value in options.items() if value is not None}
    settings = _settings(redis_url=redis_url, session_redis_url=session_redis_url, prefix=prefix)
    raise SystemExit(run(settings, SpeakRequest(text, out, session, given, timeout_s, as_json)))


@app.command()
def cancel(
    session: str,
    upto: Annotated[str | None, typer.Option(help="Entry id of the last job to cancel; all by default.")] = None,
    redis_url: RedisUrl = None,
    session_redis_url: SessionRedisUrl = None,
    prefix: Prefix = None,
) -> None:
    """Cancel a session's jobs, also the one being spoken."""
    from worker.commands.queue.letters import cancel as run

    settings = _settings(redis_url=redis_url, session_redis_url=session_redis_url, prefix=prefix)
    raise SystemExit(run(settings, session, upto))


@queue_app.command("status")
def queue_status(redis_url: RedisUrl = None, prefix: Prefix = None, as_json: AsJson = False) -> None:
    """Show what is queued and running, whether the queue is sound, and the workers."""
    from worker.commands.queue.status import status

    raise SystemExit(status(_settings(redis_url=redis_url, prefix=prefix), as_json))


@queue_app.command("dead")
def queue_dead(
    count: Annotated[int, typer.Option(help="How many, newest first.")] = 20,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
    as_json: AsJson = False,
) -> None:
    """The newest dead letters, and why they died."""
    from worker.commands.queue.letters import dead

    raise SystemExit(dead(_settings(redis_url=redis_url, prefix=prefix), count, as_json))


@queue_app.command("redrive")
def queue_redrive(
    dead_id: Annotated[list[str] | None, typer.Argument(help="Ids of dead letters.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All dead letters.")] = False,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
) -> None:
    """Publish dead jobs anew."""
    from worker.commands.queue.redrive import redrive

    raise SystemExit(redrive(_settings(redis_url=redis_url, prefix=prefix), dead_id or [], every))


@queue_app.command("repair")
def queue_repair(
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without this it is only listed.")] = False,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
    as_json: AsJson = False,
) -> None:
    """List what no worker wrote into the queue and how it is mended, and mend it; status 1 if something is left."""
    from worker.commands.queue.repair import repair

    raise SystemExit(repair(_settings(redis_url=redis_url, prefix=prefix), yes, as_json))


@voices_app.command("list")
def voices_list(voices_dir: VoicesDir = None, as_json: AsJson = False) -> None:
    """Every voice, whether it is complete, and its languages."""
    from worker.commands.voices import show

    raise SystemExit(show(_settings(voices_dir=voices_dir), as_json))


@voices_app.command("check")
def voices_check(voices_dir: VoicesDir = None) -> None:
    """Check every card and its reference; status 1 if one cannot be used."""
    from worker.commands.voices import check

    raise SystemExit(check(_settings(voices_dir=voices_dir)))


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
    """Look whether a model is complete and of the right kind, without loading it; status 1 if not."""
    from worker.commands.model import check

    raise SystemExit(check(name))


@app.command()
def doctor(
    redis_url: RedisUrl = None,
    session_redis_url: SessionRedisUrl = None,
    engine: EngineName = None,
    model: ModelDir = None,
    device: Device = None,
    dtype: Dtype = None,
    slots: Slots = None,
    voices_dir: VoicesDir = None,
    voice: Annotated[str | None, typer.Option(help="Voice of jobs that name none.")] = None,
    as_json: AsJson = False,
) -> None:
    """Tell what is missing here, and what to do about it."""
    flags = dict(locals())
    flags["default_voice"] = flags.pop("voice")
    flags.pop("as_json")
    from worker.commands.doctor.run import doctor as run

    raise SystemExit(run(_settings(**flags), as_json))


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
