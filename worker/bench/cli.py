"""The commands `makima-tts bench …`. Each imports what it needs when it runs."""

from __future__ import annotations

from typing import Annotated

import typer

from worker.first import unwind_on_signals
from worker.flags import NONE, Given, settings_of, takes

app = typer.Typer(help="Measurements, as JSON.", no_args_is_help=True)


@app.callback()
def bench() -> None:
    """Measurements, as JSON."""
    unwind_on_signals()


@app.command("queue")
def bench_queue(
    out: Annotated[str, typer.Option("--json", help="File for the JSON, or - for stdout.")] = "-",
    redis_url: Annotated[str | None, typer.Option(help="An empty Redis; an embedded Valkey by default.")] = None,
    n_jobs: Annotated[int, typer.Option("--jobs", min=1, help="Jobs of a round's throughput part.")] = 5000,
    n_samples: Annotated[int, typer.Option("--samples", min=1, help="Jobs of a round's latency part.")] = 200,
    n_rounds: Annotated[int, typer.Option("--rounds", min=1, help="Rounds, of which the median counts.")] = 5,
    with_unhinted: Annotated[bool, typer.Option("--hints", help="Measure a worker without hints too.")] = False,
) -> None:
    """Pick-up and chunk latency and settled jobs a second, beside two raw redis-py workers on the same server."""
    from worker.bench.queue import run

    raise SystemExit(run(out, redis_url, n_jobs, n_samples, n_rounds, with_unhinted))


@app.command("preview")
def bench_preview(
    out: Annotated[str, typer.Option("--json", help="File for the JSON, or - for stdout.")] = "-",
    n_rounds: Annotated[int, typer.Option("--rounds", min=1, help="Rounds, of which the median counts.")] = 15,
) -> None:
    """How soon the preview engine's natural English voice is heard, beside espeak-ng."""
    from worker.bench.preview import run

    raise SystemExit(run(out, n_rounds))


@app.command("dictation")
def bench_dictation(
    out: Annotated[str, typer.Option("--json", help="File for the JSON, or - for stdout.")] = "-",
    redis_url: Annotated[str | None, typer.Option(help="An empty Redis; an embedded Valkey by default.")] = None,
    voices: Annotated[str, typer.Option(help="Of the preview engine: natural or espeak-ng.")] = "natural",
    n_rounds: Annotated[int, typer.Option("--rounds", min=1, help="Rounds, of which the median counts.")] = 15,
    word_ms: Annotated[float, typer.Option(min=0, help="Between two words of a text that comes word by word.")] = 30.0,
) -> None:
    """How soon a text that is being written sounds, beside the same text published whole."""
    from worker.bench.dictation import run

    raise SystemExit(run(out, redis_url, voices, n_rounds, word_ms))


@app.command("backlog")
def bench_backlog(
    out: Annotated[str, typer.Option("--json", help="File for the JSON, or - for stdout.")] = "-",
    redis_url: Annotated[str | None, typer.Option(help="An empty Redis; an embedded Valkey by default.")] = None,
    n_waiting: Annotated[int, typer.Option("--waiting", help="Jobs that wait.")] = 300_000,
    n_sessions: Annotated[int, typer.Option("--sessions", help="Sessions of the situation `many`.")] = 50,
    seconds: Annotated[float, typer.Option(help="Length of each measurement with jobs waiting.")] = 50.0,
    sweep_every_s: Annotated[float | None, typer.Option("--sweep-every", help="Seconds; the worker's own: 10.")] = None,
    only: Annotated[str | None, typer.Option(help="One situation: one, many, full, draining or ready.")] = None,
) -> None:
    """The longest script and a new session's pick-up while many jobs wait, beside none waiting."""
    options = dict(locals())
    from worker.bench.backlog import run

    raise SystemExit(run(**options))


@app.command("engine")
def bench_engine(
    model: Annotated[str, typer.Option(help="Directory or hub name of the Qwen3-TTS model.")],
    out: Annotated[str, typer.Option("--json", help="File for the JSON, or - for stdout.")] = "-",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, bfloat16, float16, float32 or float64.")] = "auto",
    streams: Annotated[str, typer.Option(help="Numbers of utterances spoken at once.")] = "1,4,8",
    seconds: Annotated[float, typer.Option(help="Speech of each utterance.")] = 4.0,
    with_upstream: Annotated[bool, typer.Option("--upstream", help="Measure qwen-tts and the codec too.")] = False,
    n_slots: Annotated[int | None, typer.Option("--slots", help="By default the most streams.")] = None,
    rates: Annotated[str, typer.Option(help="Requests a second of an open loop, e.g. 1,10,20.")] = "",
    n_requests: Annotated[int, typer.Option("--requests", help="Requests of each rate.")] = 40,
    n_repeats: Annotated[int, typer.Option("--repeats", help="Rounds, of which the median counts.")] = 5,
    n_threads: Annotated[int | None, typer.Option("--threads", help="On a CPU; torch's own choice by default.")] = None,
    beside: Annotated[
        str | None, typer.Option(help="A second dtype, whose frames are timed in the same rounds.")
    ] = None,
) -> None:
    """First audio, time per frame and throughput of the engine, beside qwen-tts on the same weights."""
    options = dict(locals())
    from worker.bench.engine import run

    raise SystemExit(run(**options))


@app.command("quality")
@takes("engine", "preview_voices", "model", "device", "dtype", "voice", "voices_dir", "cache_dir")
def bench_quality(
    flags: Given = NONE,
    language: Annotated[list[str], typer.Option(help="Give it once for each language.")] = ["English", "Japanese"],  # noqa: B006
    n_sentences: Annotated[int, typer.Option("--sentences", help="Sentences of each language, 1 to 20.")] = 20,
    against: Annotated[str | None, typer.Option(help="A peer that speaks the same: upstream or espeak-ng.")] = None,
    out: Annotated[str | None, typer.Option("--json", help="File for the JSON, or - for stdout.")] = None,
) -> None:
    """Words, naturalness, likeness, silences and faults of a voice, judged by models that come in packages."""
    from worker.bench.quality import run

    raise SystemExit(run(settings_of(flags), language, n_sentences, against, out))
