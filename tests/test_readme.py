"""The README is true: its commands run, their output has the shape it shows, and its figures are those of the pages."""

from __future__ import annotations

import re
import shlex
import shutil
import signal
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
import soundfile
import typer

from tests.conftest import REPOSITORY
from tests.processes import until
from tests.shell import BIN, ENVIRONMENT, audible_s
from tests.stream.servers import free_port
from worker.cli import app

README = (REPOSITORY / "README.md").read_text("utf-8")
OPERATIONS = (REPOSITORY / "docs" / "operations.md").read_text("utf-8")
TOUR_PORT = "6399"


def commands(page: str) -> list[str]:
    """The lines of its fenced sh blocks."""
    blocks: list[str] = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line]


def made(*words: str) -> list[str]:
    """What make would run."""
    if shutil.which("make", path=ENVIRONMENT["PATH"]) is None:
        pytest.skip("make is not installed")
    done = subprocess.run(
        ["make", "-n", *words], cwd=REPOSITORY, env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def test_the_readme_is_run_whole() -> None:
    """A command that a reader would type and no test runs is not in it."""
    programs = {line.split()[0].removeprefix(".venv/bin/") for line in commands(README)}
    assert programs == {"make", "makima-tts", "redis-cli"}
    assert [line for line in commands(README) if line.startswith("make ")] == ["make install", "make demo", "make test"]


def test_the_first_two_commands_end_in_a_page() -> None:
    """tests/test_relay_dev.py runs the second one, and tests/browser listens to it."""
    install, serve = commands(README)[:2]
    assert any("web" in re.findall(r"\w+", line) for line in made("-B", *install.split()[1:]) if "--editable" in line)
    (port,) = re.findall(r"^\.venv/bin/makima-tts dev --web-port (\d+)$", serve)
    assert f"Open http://127.0.0.1:{port}," in README


def test_the_rust_code_is_the_example_whose_features_are_listed() -> None:
    crate = REPOSITORY / "schemas" / "rust"
    (shown,) = re.findall(r"```rust\n(.*?)```", README, re.DOTALL)
    assert (crate / "examples" / "axum_relay.rs").read_text("utf-8").endswith(shown)
    table = README.partition("| feature | adds |")[2].partition("\n\n")[0]
    named = {name for row in table.splitlines() for name in re.findall(r"`([a-z]+)`", row.split("|")[1] if row else "")}
    features = tomllib.loads((crate / "Cargo.toml").read_text("utf-8"))["features"]
    assert named == features.keys() - {"default"}


def test_make_demo_speaks_into_a_wav_file(tmp_path: Path) -> None:
    (line,) = [line for line in made("demo") if "makima-tts demo" in line]
    program, *words = shlex.split(line)
    assert program.endswith("/bin/makima-tts")
    done = subprocess.run(
        [BIN / "makima-tts", *words], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    wav = soundfile.info(tmp_path / "demo.wav")
    assert (wav.samplerate, wav.channels, wav.subtype, wav.format) == (24_000, 1, "PCM_16", "WAV")
    assert audible_s(tmp_path / "demo.wav") > 1
    for said in ("first audible sound after", "chunks", "real-time factor", "PREVIEW"):
        assert said in done.stdout


def test_make_demo_takes_another_sentence_as_the_readme_says() -> None:
    (inline,) = re.findall(r"`(make demo TEXT=.*?)`", README)
    (line,) = [line for line in made(*shlex.split(inline)[1:]) if "makima-tts demo" in line]
    assert "--out evening.wav" in line
    assert "Good evening." in line


def test_make_test_runs_pytest() -> None:
    assert any(re.search(r"/pytest\b", line) for line in made("test"))


@contextmanager
def a_dev(port: int, folder: Path) -> Iterator[str]:
    """`makima-tts dev` on this port; what it printed."""
    process = subprocess.Popen(
        [BIN / "makima-tts", "dev", "--port", str(port)],
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        printed = ""
        for line in process.stdout:
            printed += line
            if "Ctrl-C" in line:
                break
        yield printed
    finally:
        process.send_signal(signal.SIGINT)
        _, complaints = process.communicate(timeout=30)
    assert process.returncode == 0, complaints


def run_line(line: str, folder: Path) -> str:
    """Run it as typed; redis-cli's words by redis-py where it is not installed."""
    words = shlex.split(line)
    if words[0] == "redis-cli" and shutil.which("redis-cli") is None:
        assert words[1] == "-p"
        with redis.Redis(port=int(words[2]), protocol=2) as client:
            return str(client.execute_command(*words[3:]))
    done = subprocess.run(
        words, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, errors="replace", check=False, timeout=60
    )
    assert done.returncode == 0, f"{line}: {done.stderr}"
    assert not done.stdout.startswith(("(error)", "ERR")), f"{line}: {done.stdout}"
    return done.stdout


def test_the_sixty_second_tour_and_what_dev_prints(tmp_path: Path) -> None:
    port = free_port()
    tour = [line for line in commands(README) if line.split()[0] in ("redis-cli", "makima-tts")]
    assert tour.pop(0) == f"makima-tts dev --port {TOUR_PORT}"
    with a_dev(port, tmp_path) as printed, redis.Redis(port=port, protocol=2) as client:
        for line in tour:
            run_line(line.replace(TOUR_PORT, str(port)), tmp_path)
        assert audible_s(tmp_path / "hello.wav") > 0.3
        (tmp_path / "hello.wav").unlink()

        def types() -> list[bytes]:
            return [fields[b"type"] for _, fields in client.xrange("makima:{s1}:audio")]

        assert until(lambda: client.xlen("makima:{speak}:jobs") == 0, within_s=20)
        assert types()[0] == b"begin"
        assert {b"complete", b"cancelled"} & set(types())

        (shown,) = outputs()[f"makima-tts dev --port {TOUR_PORT}"]
        assert shape(printed.splitlines()[0]) == shape(shown)
        offered = [line.strip() for line in printed.splitlines() if line.startswith("  ")]
        assert [line.split()[0] for line in offered] == ["redis-cli"] * 3 + ["makima-tts"] * 2
        for line in offered:
            run_line(line, tmp_path)
        assert audible_s(tmp_path / "hello.wav") > 0.3


def names(command: object, prefix: str = "") -> set[str]:
    """The command line's own list: {"worker", "queue status", ...}."""
    children = getattr(command, "commands", None)
    if not children:
        return {prefix.strip()}
    return {name for child, sub in children.items() for name in names(sub, f"{prefix} {child}")}


def test_the_table_has_every_command_and_no_other() -> None:
    listed = set()
    for row in re.findall(r"^\| (`makima-tts [^|]*) \|", OPERATIONS, re.MULTILINE):
        first, *others = re.findall(r"`([^`]*)`", row)
        words = [word for word in first.removeprefix("makima-tts ").split() if not word.isupper()]
        listed.add(" ".join(words))
        listed |= {f"{words[0]} {other}" for other in others}
    assert listed == names(typer.main.get_command(app))


def outputs() -> dict[str, list[str]]:
    """The output that the README shows below each sh block, by the block's first command."""
    blocks = re.findall(r"```sh\n([^`]*)```\n```\n(.*?)```", README, re.DOTALL)
    return {block.splitlines()[0]: shown.splitlines() for block, shown in blocks}


def test_each_part_of_the_tour_shows_its_output() -> None:
    starts = {start.split()[0] + " " + start.split()[1] for start in outputs()}
    assert starts == {"make demo", "makima-tts dev", "redis-cli -p", "makima-tts speak"}


def shape(line: str) -> str:
    """A line of output without its figures."""
    return re.sub(r"[\d.]*\d", "N", line)


def test_the_demos_output_is_what_the_readme_shows(tmp_path: Path) -> None:
    (line,) = [line for line in made("demo") if "makima-tts demo" in line]
    _, *words = shlex.split(line)
    done = subprocess.run(
        [BIN / "makima-tts", *words],
        cwd=tmp_path,
        env=ENVIRONMENT | {"MAKIMA_TTS_PREVIEW_VOICES": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert [shape(line) for line in done.stdout.splitlines()] == [shape(line) for line in outputs()["make demo"]]


def test_the_readmes_figures_are_those_of_the_pages() -> None:
    """Of tables with the commands that give them: benchmarks.md and reliability.md."""
    benchmarks = (REPOSITORY / "docs" / "benchmarks.md").read_text("utf-8")
    reliability = (REPOSITORY / "docs" / "reliability.md").read_text("utf-8")
    table = reliability.partition("Without damage:")[2].partition("\n\n*Silence*")[0]
    runs = [row.split("|") for row in table.splitlines() if re.match(r"\| (valkey|redis|cluster|sentinel), ", row)]
    n_jobs, n_taken = (sum(int(run[column]) for run in runs) for column in (3, 5))
    (n_kills,) = re.findall(r"Every run:\s+(\d+)\s+kills", reliability)
    assert f"{n_jobs:,} jobs, {int(n_kills) * len(runs)} workers killed, {n_taken:,} take-overs" in README
    assert {run[column].strip() for run in runs for column in (7, 8, 9)} == {"0"}

    def first(row: str) -> str:
        return str(re.search(rf"^\| {re.escape(row)} \| ([\d.]+)", benchmarks, re.MULTILINE)[1])  # type: ignore[index]

    (added,) = re.findall(r"^\| 1 socket, Rust, own \|.*\| ([\d.]+) / [\d.]+ \|$", benchmarks, re.MULTILINE)
    assert f"adds {float(added):.1f} ms to the first audio" in README
    assert f"First audio after {float(first('first audio p50, ms')):.0f} ms" in README
    assert f"picked up in {float(first('pick-up p50, ms')):.1f} ms" in README
    assert f"{int(first('settled jobs a second')):,} jobs a second settle" in README


def test_the_readme_is_short_and_in_order() -> None:
    lines = README.splitlines()
    assert len(lines) < 210
    marks = ["make install", "![", "| measured ", "```mermaid", "## Sixty seconds", "## In your Rust server"]
    marks += ["## When to use it", "## Status", "## Read on"]
    found = [next(number for number, line in enumerate(lines) if line.startswith(mark)) for mark in marks]
    assert found == sorted(found)


def test_what_was_not_measured_is_said_in_the_status() -> None:
    """Holds as long as benchmarks.md has no result of a GPU."""
    benchmarks = (REPOSITORY / "docs" / "benchmarks.md").read_text("utf-8")
    status = README.partition("## Status")[2].partition("\n## ")[0]
    assert ("Not measured" in benchmarks.partition("### On a GPU")[2]) == ("a GPU" in status)
