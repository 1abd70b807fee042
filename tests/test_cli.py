"""The command line: quick to start, flags that arrive, and errors in one line with a status."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from schemas.export import export
from tests.conftest import REPOSITORY, Server
from tests.shell import ENVIRONMENT, Run, complaint
from worker import cli, flags
from worker.settings import Settings

NOBODY_THERE = "redis://127.0.0.1:1/0"


# Starting.


def modules_after(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True, env=ENVIRONMENT
    )
    return {name.partition(".")[0] for name in done.stdout.split("\n")[-2].split()}


HELP = """
sys.argv = ["makima-tts", "--help"]
from worker.cli import main
try:
    main()
except SystemExit:
    pass
"""


@pytest.mark.parametrize("statement", ["import worker.cli", HELP], ids=["import", "--help"])
def test_starting_loads_nothing_heavy(statement: str) -> None:
    heavy = {"torch", "redis", "hiredis", "pydantic", "pydantic_settings", "numpy", "soxr", "soundfile", "asyncio"}
    assert modules_after(statement) & heavy == set()


def test_help_lists_every_command(run: Run) -> None:
    done = run("--help")
    assert done.returncode == 0
    for name in ("worker", "dev", "demo", "speak", "cancel", "doctor", "queue", "voices", "model", "schema", "bench"):
        assert f" {name} ".encode() in done.stdout


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    children = getattr(command, "commands", None)
    if not children:
        yield path
        return
    for name, child in children.items():
        yield from commands(child, (*path, name))


@pytest.mark.parametrize("words", list(commands(typer.main.get_command(cli.app))), ids=" ".join)
def test_every_command_and_option_is_explained(words: tuple[str, ...]) -> None:
    command: Any = typer.main.get_command(cli.app)
    for word in words:
        command = command.commands[word]
    assert command.help
    for parameter in command.params:
        if parameter.param_type_name == "option":
            assert parameter.help, f"{words}: {parameter.name}"


@pytest.mark.parametrize("words", [("nonsense",), ("speak",), ("worker", "--nonsense"), ("dev", "--port", "99999")])
def test_a_wrong_use_ends_with_status_2_and_no_traceback(words: tuple[str, ...], run: Run) -> None:
    done = run(*words)
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
    assert b"--help" in done.stderr


# Flags.

FLAGS: dict[str, tuple[str, Any]] = {
    "redis_url": ("redis://flag:1/2", "redis://flag:1/2"),
    "session_redis_url": ("redis://flag:3/4", "redis://flag:3/4"),
    "prefix": ("flagged", "flagged"),
    "engine": ("preview", "preview"),
    "model": ("some/model", "some/model"),
    "device": ("cpu", "cpu"),
    "dtype": ("float16", "float16"),
    "slots": ("3", 3),
    "preview_voices": ("espeak-ng", "espeak-ng"),
    "pace": ("2.5", 2.5),
    "voices_dir": ("elsewhere", Path("elsewhere")),
    "cache_dir": ("kept", Path("kept")),
    "voice": ("placeholder", "placeholder"),
    "lease_ms": ("777", 777),
    "grace_s": ("1.5", 1.5),
    "max_text_chars": ("99", 99),
    "text_wait_s": ("2.5", 2.5),
    "ahead_ms": ("3001", 3001),
    "relay_host": ("127.0.0.8", "127.0.0.8"),
    "relay_port": ("4322", 4322),
    "relay_voice": ("placeholder", "placeholder"),
    "relay_language": ("Japanese", "Japanese"),
    "relay_ttl_ms": ("1234", 1234),
    "relay_ahead_ms": ("3002", 3002),
    "relay_pace_ahead_ms": ("5", 5),
    "relay_max_unfinished": ("6", 6),
    "relay_max_sockets": ("7", 7),
    "relay_token_file": ("token", Path("token")),
    "relay_origins": ("https://one.example", "https://one.example"),
    "relay_own_connections": ("9", 9),
    "health_port": ("4321", 4321),
    "health_host": ("127.0.0.9", "127.0.0.9"),
    "log_level": ("error", "error"),
    "log_format": ("json", "json"),
}
NAMES = {"voice": "default_voice"}
# command: (words that must be there, where its function lies, position of the settings or of what makes them)
COMMANDS: dict[str, tuple[list[str], str, int]] = {
    "worker": ([], "serve.serve", 0),
    "dev": ([], "serve.dev", 1),
    "relay": ([], "relay.relay", 0),
    "demo": (["hello"], "demo.demo", 4),
    "speak": (["hello"], "speak.speak", 0),
    "cancel": (["s1"], "queue.letters.cancel", 0),
    "queue status": ([], "queue.status.status", 0),
    "queue dead": ([], "queue.letters.dead", 0),
    "queue redrive": (["--all"], "queue.redrive.redrive", 0),
    "queue repair": ([], "queue.repair.repair", 0),
    "voices list": ([], "voices.show", 0),
    "voices check": ([], "voices.check", 0),
    "doctor": ([], "doctor.run.doctor", 0),
}


def called_with(words: list[str], where: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, ...]:
    """Run the command line in this process and catch what the command's function is given."""
    caught: list[tuple[Any, ...]] = []

    def catch(*arguments: Any, **_: Any) -> int:
        caught.append(arguments)
        return 7

    monkeypatch.setattr(f"worker.commands.{where}", catch)
    monkeypatch.setattr("worker.observe.logs.configure", lambda level, log_format: None)
    monkeypatch.setattr(sys, "argv", ["makima-tts", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 7
    return caught[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_reaches_its_setting(command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    needed, where, position = COMMANDS[command]
    known: Any = typer.main.get_command(cli.app)
    for word in command.split():
        known = known.commands[word]
    named = [option.name for option in known.params if option.name in FLAGS]
    if command == "speak":  # these are the job's
        named = [name for name in named if name not in ("voice", "ahead_ms")]
    words = [word for name in named for word in (f"--{name.removeprefix('relay_').replace('_', '-')}", FLAGS[name][0])]
    given = called_with([*command.split(), *needed, *words], where, monkeypatch)[position]
    settings: Settings = given if isinstance(given, Settings) else given("redis://embedded:1/0")
    for name in named:
        assert getattr(settings, NAMES.get(name, name)) == FLAGS[name][1], name
    if command in ("dev", "demo"):
        assert settings.redis_url == "redis://embedded:1/0"
        assert command == "demo" or settings.engine == "preview"


def test_each_flag_has_the_type_of_its_setting() -> None:
    assert flags.FLAGS.keys() == FLAGS.keys()
    for name, (kind, _) in flags.FLAGS.items():
        assert NAMES.get(name, name) in Settings.model_fields
        assert isinstance(FLAGS[name][1], kind) or name == "slots", "a number, or the word auto"


def test_what_speak_is_told_reaches_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {
        "voice": "v", "language": "Japanese", "sample_rate": 8000, "encoding": "mulaw", "seed": 5,
        "temperature": 0.5, "ttl_ms": 900, "ahead_ms": 3000,
    }  # fmt: skip
    words_of_options = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    words = ["speak", "hello", "--session", "s1", "--out", "x.wav", "--timeout-s", "3", "--json", *words_of_options]
    _, order = called_with(words, "speak.speak", monkeypatch)
    assert (order.text, order.out, order.session, order.timeout_s, order.as_json) == ("hello", "x.wav", "s1", 3.0, True)
    assert order.options == options


def test_flags_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAKIMA_TTS_PREFIX", "around")
    monkeypatch.setenv("MAKIMA_TTS_LEASE_MS", "1234")
    (settings,) = called_with(["worker", "--prefix", "flag"], "serve.serve", monkeypatch)
    assert (settings.prefix, settings.lease_ms) == ("flag", 1234)


def test_the_bench_takes_its_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = ("x.json", "redis://a", 5, 6, 7, True)
    monkeypatch.setattr("worker.bench.queue.run", lambda *given: 3 if given == flags else 4)
    words = ["bench", "queue", "--json", "x.json", "--redis-url", "redis://a"]
    words += ["--jobs", "5", "--samples", "6", "--rounds", "7", "--hints"]
    monkeypatch.setattr(sys, "argv", ["makima-tts", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 3


# Errors.


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["speak", "hi", "--redis-url", "nope"], 1, "MAKIMA_TTS_REDIS_URL"),
        (["speak", "hi", "--redis-url", "redis://127.0.0.1:99999/0"], 1, "Redis URL"),
        (["speak", "hi", "--redis-url", NOBODY_THERE], 1, "doctor"),
        (["speak", "hi", "--redis-url", "redis+cluster://127.0.0.1:1"], 1, "doctor"),
        (["speak", "hi", "--redis-url", "redis+sentinel://127.0.0.1:1/service/0"], 1, "doctor"),
        (["speak", "hi", "--sample-rate", "12345"], 1, "24000"),
        (["speak", "hi", "--encoding", "mp3"], 1, "pcm_s16le"),
        (["speak", "hi", "--language", "Klingon"], 1, "Japanese"),
        (["speak", "", "--redis-url", NOBODY_THERE], 1, "text"),
        (["speak", "hi", "--session", "{s}"], 1, "session_id"),
        (["worker", "--engine", "parrot"], 1, "'preview'"),
        (["worker", "--lease-ms", "1"], 1, "MAKIMA_TTS_LEASE_MS"),
        (["worker", "--engine", "qwen", "--pace", "2"], 1, "MAKIMA_TTS_PACE"),
        (["worker", "--engine", "qwen"], 1, "--engine preview"),
        (["demo", "hi", "--engine", "qwen"], 1, "--engine preview"),
        (["demo", ""], 1, "text"),
        (["model", "check", "absent"], 1, "neither a directory nor a hub name"),
        (["model", "fetch", "absent"], 1, "Qwen/Qwen3-TTS-12Hz-0.6B-Base"),
        (["worker", "--engine", "qwen", "--model", "absent"], 1, "neither a directory"),
        (["worker", "--dtype", "int8"], 1, "MAKIMA_TTS_DTYPE"),
        (["cancel", "{s}"], 2, "session id"),
        (["cancel", "s1", "--upto", "soon"], 2, "--upto"),
        (["cancel", "s1", "--redis-url", NOBODY_THERE], 1, "doctor"),
        (["queue", "status", "--redis-url", NOBODY_THERE], 1, "doctor"),
        (["queue", "redrive"], 2, "--all"),
        (["queue", "redrive", "1-1", "--all"], 2, "--all"),
        (["voices", "list", "--voices-dir", "absent"], 1, "MAKIMA_TTS_VOICES_DIR"),
        (["voices", "check", "--voices-dir", "absent"], 1, "MAKIMA_TTS_VOICES_DIR"),
        (["bench", "queue", "--redis-url", NOBODY_THERE], 1, "makima-tts: "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_foreseen_error_is_one_line_that_says_what_to_do(
    words: list[str], status: int, said: str, run: Run, shell: Run
) -> None:
    done = (shell if words[0] in ("worker", "demo", "bench") else run)(*words)
    assert said in complaint(done)
    assert done.returncode == status


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["worker", "--engine", "preview", "--voice", "nobody"], "available: makima, placeholder"),
        (["worker", "--engine", "preview", "--voices-dir", "absent"], "MAKIMA_TTS_VOICES_DIR"),
        (["demo", "hi", "--engine", "preview", "--voice", "nobody"], "available: makima, placeholder"),
        (["demo", "hi", "--engine", "auto", "--voices-dir", "absent"], "MAKIMA_TTS_VOICES_DIR"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_worker_that_cannot_start_says_so_in_its_last_line(words: list[str], said: str, shell: Run) -> None:
    done = shell(*words)
    assert done.returncode == 1
    assert said in done.stderr.decode().splitlines()[-1]
    assert b"Traceback" not in done.stderr


def test_a_password_file_that_is_not_there_is_named(run: Run) -> None:
    done = run("queue", "status", env={"MAKIMA_TTS_REDIS_PASSWORD_FILE": "absent"})
    assert "MAKIMA_TTS_REDIS_PASSWORD_FILE" in complaint(done)
    assert done.returncode == 1


def test_an_unknown_key_around_is_warned_about(run: Run) -> None:
    done = run("voices", "list", env={"MAKIMA_TTS_VOICE": "makima"})
    assert done.returncode == 0
    assert b"MAKIMA_TTS_VOICE " in done.stderr


def test_any_other_error_is_ours_and_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> int:
        raise ValueError("a bug")

    monkeypatch.setattr("worker.commands.voices.check", broken)
    monkeypatch.setattr(sys, "argv", ["makima-tts", "voices", "check"])
    with pytest.raises(ValueError, match="a bug"):
        cli.main()


def test_a_port_in_use_is_told_by_dev(shell: Run, valkey_server: Server) -> None:
    port = valkey_server.url.rpartition(":")[2].partition("/")[0]
    done = shell("dev", "--port", port)
    assert f"port {port}" in complaint(done)
    assert done.returncode == 1


# The contract.


def test_schema_export_writes_what_check_finds_fresh(run: Run, tmp_path: Path) -> None:
    assert run("schema", "export", "out", "--check").returncode == 1
    done = run("schema", "export", "out")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(export(tmp_path / "again"))
    assert run("schema", "export", "out", "--check").returncode == 0
    (tmp_path / "out" / "asyncapi.yaml").write_text("stale", "utf-8")
    stale = run("schema", "export", "out", "--check")
    assert stale.returncode == 1
    assert b"asyncapi.yaml" in stale.stdout


def test_the_generated_files_of_this_repository_are_fresh(run: Run) -> None:
    assert run("schema", "export", str(REPOSITORY / "schemas"), "--check").returncode == 0
