"""The relay's options, and which requests become sockets."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from websockets.datastructures import Headers
from websockets.http11 import Request

from tests.conftest import REPOSITORY
from worker.commands import relay as command
from worker.relay.http import has_token, is_own_origin, page
from worker.relay.options import RelayOptions
from worker.settings import Settings, SettingsError


def options(**given: object) -> RelayOptions:
    return RelayOptions.of(Settings(_env_file=None, **given))  # type: ignore[arg-type]


def test_jobs_get_what_the_settings_name_and_nothing_else() -> None:
    given = options(relay_voice="makima", relay_language="Japanese", relay_ttl_ms=900, relay_ahead_ms=3000)
    assert given.job_options == {"voice": "makima", "language": "Japanese", "ttl_ms": 900, "ahead_ms": 3000}
    assert given.ttl_ms == 900
    assert set(options().job_options.values()) == {None}
    assert options().ttl_ms == 30_000


@pytest.mark.parametrize("wrong", [{"relay_language": "Klingon"}, {"relay_voice": ""}])
def test_a_value_that_no_worker_would_take_stops_the_start(wrong: dict[str, str]) -> None:
    with pytest.raises(SettingsError) as raised:
        options(**wrong)
    assert f"MAKIMA_TTS_{next(iter(wrong)).upper()}" in str(raised.value)


def test_a_token_file_holds_the_token_alone(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("secret-1\n")
    assert options(relay_token_file=file).token == "secret-1"
    for content in (b"", b"\n", b"two words", "schlüssel".encode(), b"x" * 5000):
        file.write_bytes(content)
        with pytest.raises(SettingsError, match="MAKIMA_TTS_RELAY_TOKEN_FILE"):
            options(relay_token_file=file)
    with pytest.raises(SettingsError, match="MAKIMA_TTS_RELAY_TOKEN_FILE"):
        options(relay_token_file=tmp_path / "missing")


@pytest.mark.parametrize(
    ("origin", "host", "is_let_in"),
    [
        (None, "relay.example", True),
        ("http://relay.example:8080", "relay.example:8080", True),
        ("http://RELAY.example:8080", "relay.EXAMPLE:8080", True),
        ("http://relay.example", "relay.example", True),
        ("http://relay.example:80", "relay.example", True),
        ("https://relay.example", "relay.example", True),
        ("http://[::1]:8080", "[::1]:8080", True),
        ("http://relay.example:8081", "relay.example:8080", False),
        ("http://relay.example", "relay.example:8080", False),
        ("http://evil.example", "relay.example:8080", False),
        ("http://relay.example.evil.example", "relay.example", False),
        ("null", "relay.example", False),
        ("", "relay.example", False),
        ("http://relay.example:99999", "relay.example", False),
        ("https://makima.example", "relay.example", True),
        ("https://MAKIMA.example", "relay.example", True),
        ("https://makima.example:444", "relay.example", False),
    ],
)
def test_pages_of_other_hosts_are_kept_out(origin: str | None, host: str, is_let_in: bool) -> None:
    known = options(relay_origins=" https://Makima.example , https://other.example,").origins
    headers = Headers(Host=host) if origin is None else Headers(Host=host, Origin=origin)
    asked = Request("/api/v1/speak", headers)
    assert is_own_origin(asked, known) is is_let_in
    assert is_own_origin(asked, options(relay_origins="*").origins)


@pytest.mark.parametrize(
    ("path", "authorization", "is_let_in"),
    [
        ("/api/v1/speak", "Bearer secret", True),
        ("/api/v1/speak", "bearer secret", True),
        ("/api/v1/speak?access_token=secret", None, True),
        ("/api/v1/speak?x=1&access_token=secret", "Bearer wrong", True),
        ("/api/v1/speak", None, False),
        ("/api/v1/speak", "secret", False),
        ("/api/v1/speak", "Basic secret", False),
        ("/api/v1/speak", "Bearer secret2", False),
        ("/api/v1/speak?access_token=", None, False),
        ("/api/v1/speak?access_token=s%C3%A9cret", None, False),
    ],
)
def test_a_token_comes_as_a_header_or_in_the_address(path: str, authorization: str | None, is_let_in: bool) -> None:
    headers = Headers() if authorization is None else Headers(Authorization=authorization)
    assert has_token(Request(path, headers), "secret") is is_let_in


def test_without_the_extra_the_command_names_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    assert command.relay(Settings(_env_file=None)) == 1
    assert "pip install 'makima-tts[web]'" in capsys.readouterr().err


def test_the_page_is_in_the_package_and_nothing_else_of_the_crate() -> None:
    assert page().startswith(b"<!doctype html>")
    wheel = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["exclude"] == ["schemas/rust"]
    assert wheel["force-include"] == {"schemas/rust/page/index.html": "schemas/rust/page/index.html"}
