"""What a newcomer runs before reading code: make targets, hooks, the CI file, .env.example and examples/."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import tomllib
import wave
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.conftest import REPOSITORY, Server, make_settings, running
from tests.shell import ENVIRONMENT
from worker.settings import Settings, env_name

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
MAKEFILE = (REPOSITORY / "Makefile").read_text("utf-8")
TARGETS = set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))


def make_targets(commands: str) -> set[str]:
    return set(re.findall(r"\bmake ([a-z]+)", commands))


def test_help_is_the_default_target_and_lists_every_other() -> None:
    shown = subprocess.run(["make"], cwd=REPOSITORY, env=ENVIRONMENT, capture_output=True, text=True, check=True).stdout
    assert make_targets(shown) == TARGETS


def test_check_is_tests_lint_and_types_and_both_gates_call_it() -> None:
    assert re.search(r"^check: test lint types\b", MAKEFILE, re.MULTILINE)
    assert (REPOSITORY / ".ci" / "run").read_text("utf-8").endswith("make check\n")
    workflow = yaml.safe_load((REPOSITORY / ".github" / "workflows" / "ci.yml").read_text("utf-8"))
    steps = workflow["jobs"]["check"]["steps"]
    assert steps[-1]["run"] == "make check"


def test_the_crate_is_checked_with_each_of_its_features_alone() -> None:
    features = tomllib.loads((REPOSITORY / "schemas" / "rust" / "Cargo.toml").read_text("utf-8"))["features"]
    shown = subprocess.run(
        ["make", "-n", "rust"], cwd=REPOSITORY, env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    (loop,) = re.findall(r"^for feature in '' (.*?);", shown.stdout, re.MULTILINE)
    assert set(loop.split()) == features.keys() - {"default"}


@pytest.mark.parametrize("has_crates", [True, False])
def test_the_gate_checks_the_crate_where_cargo_can_download_and_says_where_it_cannot(
    tmp_path: Path, has_crates: bool
) -> None:
    programs = {
        "cargo": "exit 0" if has_crates else "echo failed to download; exit 101",
        "make": "echo make $@",
        "id": "echo 1000",
    }
    for name, line in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    environment = ENVIRONMENT | {"PATH": f"{tmp_path}:{ENVIRONMENT['PATH']}"}
    gate = REPOSITORY / ".ci" / "run"
    lines = subprocess.run([gate], env=environment, capture_output=True, text=True, check=True).stdout.splitlines()
    assert lines[-1] == "make check"
    assert ("make rust" in lines) is has_crates
    assert any("skipped" in line for line in lines) is not has_crates


def test_the_public_ci_runs_every_supported_python() -> None:
    workflow = yaml.safe_load((REPOSITORY / ".github" / "workflows" / "ci.yml").read_text("utf-8"))
    versions = workflow["jobs"]["check"]["strategy"]["matrix"]["python"]
    least, below = re.findall(r"3\.(\d+)", PROJECT["requires-python"])
    assert versions == [f"3.{minor}" for minor in range(int(least), int(below))]


def test_hooks_are_local_and_run_make_targets() -> None:
    hooks = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text("utf-8"))["repos"]
    assert [repository["repo"] for repository in hooks] == ["local"]
    for hook in hooks[0]["hooks"]:
        assert make_targets(hook["entry"]) <= TARGETS
        assert (hook["language"], hook["pass_filenames"]) == ("system", False)


def test_the_example_environment_has_every_setting_with_its_default(tmp_path: Path) -> None:
    text = (REPOSITORY / ".env.example").read_text("utf-8")
    given = dict(re.findall(r"^#(MAKIMA_TTS_\w+)=(.*)$", text, re.MULTILINE))
    assert list(given) == [env_name(field) for field in Settings.model_fields]
    (tmp_path / ".env").write_text(re.sub(r"^#(?=MAKIMA_TTS_)", "", text, flags=re.MULTILINE))
    loaded = Settings(_env_file=tmp_path / ".env")
    for field, info in Settings.model_fields.items():
        if field not in ("voices_dir", "cache_dir"):  # these depend on the user and the working directory
            assert getattr(loaded, field) == info.default, field
    assert given[env_name("voices_dir")] == "./voices"
    assert given[env_name("cache_dir")] == "~/.cache/makima-tts"


def test_the_newest_version_of_the_changelog_is_the_projects() -> None:
    dated = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)$", (REPOSITORY / "CHANGELOG.md").read_text(), re.M)
    assert dated[0][0] == PROJECT["version"]


EXAMPLES = sorted((REPOSITORY / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_fits_a_page_and_needs_redis_and_msgpack_only_or_this_project_only(path: Path) -> None:
    text = path.read_text("utf-8")
    imported = set(re.findall(r"^(?:import|from) (\w+)", text, re.MULTILINE)) - sys.stdlib_module_names
    assert imported <= {"redis", "msgpack"} or imported <= {"schemas", "worker"}
    assert len(text.splitlines()) <= 100


def example(name: str, *words: str) -> str:
    command = [sys.executable, str(REPOSITORY / "examples" / f"{name}.py"), *words]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


async def test_the_examples_publish_listen_and_cancel(settings: Settings, tmp_path: Path) -> None:
    url = settings.redis_url
    out = str(tmp_path / "heard.wav")
    async with running(settings):
        entry_id = await asyncio.to_thread(example, "publish", "an-example", "Good evening.", "--url", url)
        assert re.fullmatch(r"\d+-\d+", entry_id)
        assert await asyncio.to_thread(example, "listen", "an-example", out, "--url", url) == "complete"
    with wave.open(out) as wav:
        pcm = np.frombuffer(wav.readframes(wav.getnframes()), "<i2")
        assert wav.getframerate() == 24_000
    assert np.abs(pcm).max() > 1000
    # No worker runs: a job that is cancelled before it begins ends as soon as one does.
    entry_id = await asyncio.to_thread(example, "publish", "another", "Good night.", "--url", url)
    await asyncio.to_thread(example, "publish", "another", "--cancel", entry_id, "--url", url)
    async with running(settings):
        assert await asyncio.to_thread(example, "listen", "another", out, "--url", url) == "cancelled"


async def test_the_example_of_a_conversation_prints_what_was_made_and_heard(servers: dict[str, Server]) -> None:
    url = servers["valkey"].url
    async with running(make_settings(url)):
        words = ("converse", "--url", url, "--interrupt-after", "0.5")
        made, heard = (await asyncio.to_thread(example, *words)).splitlines()
    text = made.removeprefix("made:  ")
    was_heard = heard.removeprefix("heard: ").removesuffix(" (the last words are an estimate)")
    assert text.startswith("Tides come from the moon.")
    assert text.startswith(was_heard)
    assert was_heard != text
