"""The flags that override settings: each is declared once, and a command names those that it takes.

`Settings` is not imported here, for `--help` need not wait for pydantic; a test compares the table with its fields.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

FLAGS: dict[str, tuple[type, str]] = {
    "redis_url": (str, "Redis of the job plane, e.g. redis://127.0.0.1:6379/0."),
    "session_redis_url": (str, "Redis of the session plane, if it is another."),
    "prefix": (str, "Prefix of every key."),
    "engine": (str, "auto, qwen or preview."),
    "model": (str, "Directory or hub name of the Qwen3-TTS model."),
    "device": (str, "auto, cpu, cuda or cuda:N."),
    "dtype": (str, "auto, bfloat16, float16, float32 or float64: what Qwen3-TTS computes in."),
    "slots": (str, "Utterances spoken at once: auto, or a number."),
    "preview_voices": (str, "natural, or espeak-ng for every language."),
    "pace": (float, "Hold the preview engine to this many times real time."),
    "voices_dir": (Path, "Folder with <name>/voice.toml."),
    "cache_dir": (Path, "Folder of the voices' prompts, kept between starts."),
    "voice": (str, "Voice of jobs that name none."),
    "lease_ms": (int, "Silence after which a job is taken over."),
    "grace_s": (float, "Time to finish utterances after SIGTERM."),
    "max_text_chars": (int, "Longest text of a job."),
    "text_wait_s": (float, "Longest wait for the next piece of a text that is being written."),
    "ahead_ms": (int, "How far speech may be ahead of its listener; 0 for no limit."),
    "relay_host": (str, "Address the relay listens on."),
    "relay_port": (int, "Port the relay listens on."),
    "relay_voice": (str, "Voice of all jobs; the workers' default."),
    "relay_language": (str, "Language of all jobs; by each text's script."),
    "relay_ttl_ms": (int, "Milliseconds after which an unbegun job expires."),
    "relay_ahead_ms": (int, "How far speech may be made ahead of its listener; 0 for no limit."),
    "relay_pace_ahead_ms": (int, "How far audio may be sent ahead of its listener; 0 for no limit."),
    "relay_max_unfinished": (int, "Unanswered utterances of a socket."),
    "relay_max_sockets": (int, "Sockets at once."),
    "relay_token_file": (Path, "File with the token that clients must send."),
    "relay_origins": (str, "Origins of other hosts' pages, separated by commas; * for any."),
    "relay_own_connections": (int, "Sockets that speak with a connection to Redis each; the others share one."),
    "health_port": (int, "Serve /healthz, /readyz, /metrics here."),
    "health_host": (str, "Address the health port listens on."),
    "log_level": (str, "debug, info, warning or error."),
    "log_format": (str, "text or json."),
}
OF_THE_RELAY = "relay_"  # a prefix of settings that their flags leave out
SETTING_OF = {"voice": "default_voice"}  # the others are named as their setting

Given = dict[str, Any]  # setting: the flag's value, or None where it was not given
NONE: Given = {}


def _flag(name: str) -> str:
    return "--" + name.removeprefix(OF_THE_RELAY).replace("_", "-")


def takes(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command one option for each of these flags, where its parameter `flags` stands, which gets the values."""
    options = [
        inspect.Parameter(
            name,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=None,
            annotation=Annotated[kind | None, typer.Option(_flag(name), help=text)],
        )
        for name in names
        for kind, text in [FLAGS[name]]
    ]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def run(**arguments: Any) -> None:
            flags = {SETTING_OF.get(name, name): arguments.pop(name) for name in names}
            command(flags=flags, **arguments)

        own = list(inspect.signature(command, eval_str=True).parameters.values())
        at = [parameter.name for parameter in own].index("flags")
        parameters = [*own[:at], *options, *own[at + 1 :]]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate


def settings_of(flags: Given, **given: Any) -> Any:
    """Load the settings and set up the log. Raises SettingsError; a key that is no setting is a warning in the log."""
    from worker.observe.logs import configure
    from worker.settings import Settings, unknown_keys

    settings = Settings.load(**flags, **given)
    configure(settings.log_level, settings.log_format)
    for ignored in unknown_keys():
        logging.getLogger("worker.settings").warning("%s", ignored)
    return settings
