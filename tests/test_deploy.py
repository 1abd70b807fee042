"""What is shipped for running it: compose and Dockerfile by a parser, scripts, the settings' document."""

from __future__ import annotations

import http.server
import json
import re
import subprocess
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from worker.relay.metrics import RelayMetrics
from worker.settings import Settings, env_name

REPOSITORY = Path(__file__).resolve().parent.parent
USERS = ("producer", "relay", "worker", "operator")
WORKERS = ("worker", "worker-cpu")
RELAY = "schemas/rust/Dockerfile"


def test_redis_does_not_start_without_the_passwords(tmp_path: Path) -> None:
    start = subprocess.run(
        ["sh", str(REPOSITORY / "deploy" / "redis" / "start.sh"), "--version"],
        env={"PATH": "/usr/bin:/bin:/usr/local/bin", "SECRETS": str(tmp_path), "ACL": str(tmp_path / "acl")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert start.returncode != 0
    assert "deploy/passwords.sh" in start.stderr


def test_passwords_are_made_once_and_are_long(tmp_path: Path) -> None:
    script = ["sh", str(REPOSITORY / "deploy" / "passwords.sh"), str(tmp_path / "secrets")]
    subprocess.run(script, check=True, capture_output=True)
    made = {user: (tmp_path / "secrets" / user).read_text() for user in USERS}
    assert all(re.fullmatch(r"[0-9a-f]{48}", password) for password in made.values())
    assert len(set(made.values())) == len(USERS)
    subprocess.run(script, check=True, capture_output=True)
    assert made == {user: (tmp_path / "secrets" / user).read_text() for user in USERS}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text("utf-8"))
    return loaded


def test_compose_starts_redis_with_what_the_contract_needs(compose: dict[str, Any]) -> None:
    words = compose["services"]["redis"]["command"]
    options = dict(zip(words[::2], words[1::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--proto-max-bulk-len"] == "1mb"
    assert options["--maxmemory-policy"] == "noeviction"
    assert "--aclfile" in options
    assert all(port.startswith("127.0.0.1:") for port in compose["services"]["redis"]["ports"])


def test_compose_has_a_gpu_worker_and_a_cpu_profile(compose: dict[str, Any]) -> None:
    gpu, cpu = compose["services"]["worker"], compose["services"]["worker-cpu"]
    assert (gpu["profiles"], cpu["profiles"]) == (["gpu"], ["cpu"])
    assert gpu["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]
    assert (gpu["build"]["args"]["EXTRAS"], cpu["build"]["args"]["EXTRAS"]) == ("qwen", "preview")
    assert (gpu["environment"]["MAKIMA_TTS_ENGINE"], cpu["environment"]["MAKIMA_TTS_ENGINE"]) == (
        "qwen",
        "preview",
    )


def test_every_service_has_a_health_check_and_waits_for_redis(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        check = service["healthcheck"]["test"]
        assert check
        if name in WORKERS:
            assert "/readyz" in check[-1]
            compile(check[-1], name, "exec")
        if name != "redis":
            assert service["depends_on"]["redis"]["condition"] == "service_healthy"


@contextmanager
def answering(status: int) -> Iterator[int]:
    """The port of a server that answers every GET with this status."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.path == "/healthz"
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.mark.parametrize(("status", "is_healthy"), [(200, True), (503, False)])
def test_the_relays_health_check_reads_the_status_of_healthz(
    compose: dict[str, Any], status: int, is_healthy: bool
) -> None:
    in_compose = [word.replace("$$", "$") for word in compose["services"]["relay"]["healthcheck"]["test"][1:]]
    (in_image,) = [rest for word, rest in instructions(RELAY) if word == "HEALTHCHECK"]
    assert json.loads(in_image[in_image.index("[") :]) == in_compose
    with answering(status) as port:
        program, option, script = in_compose
        assert "/8080" in script
        here = subprocess.run([program, option, script.replace("/8080", f"/{port}")], check=False, timeout=10)
    assert (here.returncode == 0) is is_healthy


def test_compose_has_a_relay_for_browsers_on_this_host(compose: dict[str, Any]) -> None:
    relay = compose["services"]["relay"]
    assert (REPOSITORY / relay["build"] / "Dockerfile") == REPOSITORY / RELAY
    assert relay["ports"] == ["127.0.0.1:8080:8080"]
    environment = relay["environment"]
    assert environment["MAKIMA_TTS_REDIS_USERNAME"] in USERS
    assert environment["MAKIMA_TTS_REDIS_PASSWORD_FILE"] == f"/run/secrets/{relay['secrets'][0]}"
    assert environment.keys() <= documented().keys()


def test_compose_gives_the_workers_settings_that_exist_and_are_valid(compose: dict[str, Any]) -> None:
    for name in WORKERS:
        environment = compose["services"][name]["environment"]
        flags = {key.removeprefix("MAKIMA_TTS_").lower(): value for key, value in environment.items()}
        assert flags.keys() <= Settings.model_fields.keys()
        assert "redis_password" not in flags
        plain = {key: value for key, value in flags.items() if not value.startswith("${")}
        settings = Settings(**plain)
        stop_s = int(compose["services"][name]["stop_grace_period"].removesuffix("s"))
        assert settings.grace_s < stop_s


def test_compose_names_only_what_exists(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        assert set(service["secrets"]) <= compose["secrets"].keys()
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source in compose["volumes"] or (REPOSITORY / source).exists()


def instructions(name: str = "Dockerfile") -> list[tuple[str, str]]:
    """(instruction, arguments) of a Dockerfile, continuation lines joined."""
    text = (REPOSITORY / name).read_text("utf-8")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines())]


def test_the_image_has_two_stages_and_runs_as_nobody_special() -> None:
    found = instructions()
    assert [rest for word, rest in found if word == "FROM"] == [
        "python:3.12-slim AS build",
        "python:3.12-slim",
    ]
    last_stage = found[max(at for at, (word, _) in enumerate(found) if word == "FROM") :]
    assert [rest for word, rest in last_stage if word == "USER"] == ["worker"]
    assert {"HEALTHCHECK", "ENTRYPOINT", "CMD"} <= {word for word, _ in last_stage}
    assert ("ARG", "EXTRAS=preview") in found
    assert any(word == "ENV" and "constraints.txt" in rest for word, rest in found)


def test_the_relays_image_is_built_by_a_rust_that_the_crate_accepts_and_runs_as_nobody_special() -> None:
    found = instructions(RELAY)
    build, final = [rest for word, rest in found if word == "FROM"]
    version = re.fullmatch(r"rust:(\d+)\.(\d+)-slim-bookworm AS build", build)
    assert version is not None
    least = tomllib.loads((REPOSITORY / RELAY).with_name("Cargo.toml").read_text())["package"]["rust-version"]
    assert tuple(map(int, version.groups())) >= tuple(map(int, least.split(".")))
    assert final == "debian:bookworm-slim", "the C library that the binary was linked with"
    last_stage = found[found.index(("FROM", final)) :]
    assert [rest for word, rest in last_stage if word == "USER"] == ["relay"]
    assert ("ENTRYPOINT", '["makima-tts-relay"]') in last_stage


def test_the_image_copies_only_what_exists_and_is_not_ignored() -> None:
    ignored = (REPOSITORY / ".dockerignore").read_text().split()
    for word, rest in instructions():
        if word == "COPY" and not rest.startswith("--from"):
            for source in rest.split()[:-1]:
                assert (REPOSITORY / source).exists()
                assert f"!{source}" in ignored
    compiled, page = ignored.index("schemas/rust"), ignored.index("!schemas/rust/page")
    assert ignored.index("!schemas") < compiled < page, "of the crate the relay needs its page alone"


def test_the_first_build_has_all_files_that_the_wheel_asks_for() -> None:
    build = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["build"]
    dependencies = next(rest for word, rest in instructions() if word == "RUN" and "pip install" in rest)
    made = dependencies.partition("touch ")[2].partition("&&")[0].split()
    assert set(made) == {"worker/__init__.py", "schemas/__init__.py", *build["targets"]["wheel"]["force-include"]}


def test_the_image_bakes_the_weights_that_compose_runs_with(compose: dict[str, Any]) -> None:
    found = instructions()
    assert ("ARG", "MODEL=") in found
    (bake,) = [rest for word, rest in found if word == "RUN" and "model fetch" in rest]
    folder = re.search(r"--out (\S+);", bake)
    assert folder
    assert ("COPY", f"--from=build {folder[1]} {folder[1]}") in found
    worker = compose["services"]["worker"]
    assert worker["environment"]["MAKIMA_TTS_MODEL"] == f"${{MAKIMA_TTS_MODEL:-{folder[1]}}}"
    assert worker["build"]["args"]["MODEL"] == "${MODEL:-}"


def test_the_images_health_check_is_a_program() -> None:
    check = next(rest for word, rest in instructions() if word == "HEALTHCHECK")
    program = yaml.safe_load(check[check.index("[") :])
    assert program[:2] == ["python", "-c"]
    compile(program[2], "HEALTHCHECK", "exec")


def test_the_image_builds_only_with_extras_that_exist() -> None:
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {"preview", "qwen"} <= extras.keys()


def documented() -> dict[str, list[str]]:
    """The cells of every settings row of docs/operations.md, by variable."""
    text = (REPOSITORY / "docs" / "operations.md").read_text("utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("| `MAKIMA")
    ]
    return {row[0].strip("`"): row for row in rows}


def test_every_setting_is_documented_and_nothing_else_is() -> None:
    assert documented().keys() == {env_name(field) for field in Settings.model_fields}


@pytest.mark.parametrize("field", sorted(Settings.model_fields))
def test_the_documented_default_is_the_real_one(field: str) -> None:
    default = documented()[env_name(field)][2].strip("`")
    info = Settings.model_fields[field]
    if field == "voices_dir":  # depends on where one is
        assert default == "./voices"
    elif field == "cache_dir":  # depends on who one is
        assert default == "~/.cache/makima-tts"
    elif info.default is None:
        assert default == "none"
    elif isinstance(info.default, bool):
        assert default == str(info.default).lower()
    elif isinstance(info.default, float):
        assert default == f"{info.default:g}"
    else:
        assert default == str(info.default)


@pytest.mark.parametrize("field", sorted(Settings.model_fields))
def test_a_unit_in_a_settings_name_is_the_documented_unit(field: str) -> None:
    unit = documented()[env_name(field)][1]
    suffixes = {"_ms": "ms", "_s": "s", "_chars": "characters"}
    expected = next((word for suffix, word in suffixes.items() if field.endswith(suffix)), None)
    assert expected in (None, unit)


def test_the_rust_relay_has_the_settings_of_relays_and_no_unknown_one() -> None:
    source = (REPOSITORY / "schemas" / "rust" / "src" / "bin" / "makima-tts-relay.rs").read_text("utf-8")
    read = set(re.findall(r'env = "(\w+)"', source))
    assert {name for name in documented() if name.startswith("MAKIMA_TTS_RELAY_")} <= read <= documented().keys()
    shown = dict(re.findall(r'env = "(MAKIMA_TTS_RELAY_\w+)", default_value(?:_t)? = "?([\w.]+)"?\)', source))
    assert {name: documented()[name][2].strip("`") for name in shown} == {
        name: default.replace("_", "") for name, default in shown.items()
    }


def test_both_relays_have_the_metrics_that_are_documented() -> None:
    page = (REPOSITORY / "docs" / "operations.md").read_text("utf-8")
    table = page.partition("| metric (`makima_tts_relay_…`) |")[2].partition("\n\n")[0]
    documented = {name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)", row.split("|")[1])}
    source = (REPOSITORY / "schemas" / "rust" / "src" / "relay" / "metrics.rs").read_text("utf-8")
    assert set(re.findall(r'page\.(?:one|about)\("(\w+)"', source)) == documented
    python = re.findall(r"^# TYPE makima_tts_relay_(\w+) ", RelayMetrics().page().decode(), re.MULTILINE)
    assert {name for name in python if not name.endswith("_created")} == documented


def test_the_licence_is_the_one_that_is_declared() -> None:
    text = (REPOSITORY / "LICENSE").read_text()
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
